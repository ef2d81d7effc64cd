"""What every benchmark uses: the trace of task starts, processes for single steps, figures and the report."""
