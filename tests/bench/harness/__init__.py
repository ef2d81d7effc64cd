"""What every benchmark uses: a trace of what started, steps in processes of their own, rounds, figures and the report."""
