-- Delete events before a moment, from a few lists. ARGV: the moment. Gives how many went, and how many lists were looked
-- at: none are left when it is 0.

local LISTS = 10

local log, before = prefix .. 'log', tonumber(ARGV[1])
local trimmed = 0

local function drop(list)
  call('DEL', log .. ':' .. list)
  call('ZREM', log .. ':first', list)
  call('ZREM', log .. ':last', list)
  -- Positions in the last list must not be given again.
  if tonumber(list) == open_list() then call('HSET', log, 'list', list + 1) end
end

local function trim(list)
  local events, earliest = call('LRANGE', log .. ':' .. list, 0, -1), math.huge
  for i, event in ipairs(events) do
    if event ~= '' then
      local ts = number(event, 1)
      if ts < before then
        events[i] = ''
        trimmed = trimmed + 1
      else
        earliest = math.min(earliest, ts)
      end
    end
  end
  if earliest == math.huge then return drop(list) end
  call('DEL', log .. ':' .. list)
  in_chunks('RPUSH', log .. ':' .. list, events)
  call('ZADD', log .. ':first', digits(earliest), list)
end

note_span(open_list())
local lists = call('ZRANGE', log .. ':first', '-inf', '(' .. digits(before), 'BYSCORE', 'LIMIT', 0, LISTS)
for _, list in ipairs(lists) do trim(list) end
return {trimmed, #lists}
