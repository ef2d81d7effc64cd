local BLOCK = 1000 -- events in one part of the log

-- Note when the first and the last event of one of the log's lists were, as `log:first` and `log:last` have it for each
-- list that is full. Whoever asks for these notes the open list's before.
local function note_span(list)
  local earliest, latest = math.huge, -math.huge
  for _, event in ipairs(call('LRANGE', prefix .. 'log:' .. list, 0, -1)) do
    if event ~= '' then
      local ts = number(event, 1)
      earliest, latest = math.min(earliest, ts), math.max(latest, ts)
    end
  end
  if earliest < math.huge then
    call('ZADD', prefix .. 'log:first', digits(earliest), list)
    call('ZADD', prefix .. 'log:last', digits(latest), list)
  end
end

local function open_list()
  return tonumber(call('HGET', prefix .. 'log', 'list') or 0)
end

-- The log is a list per thousand events or some more, so that no call touches much of it. `log` says which one is open.
local function write_events(source, first, last)
  local log, list = prefix .. 'log', open_list()
  for start = first, last, BLOCK do
    if call('RPUSH', log .. ':' .. list, unpack(source, start, math.min(start + BLOCK - 1, last))) >= BLOCK then
      note_span(list)
      list = list + 1
      call('HSET', log, 'list', list)
    end
  end
end
