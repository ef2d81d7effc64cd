-- The log's end, and up to ARGV[1] events before it. Gives the list and the index in it, then the events.

local LISTS = 10 -- that it looks at

local log, limit = prefix .. 'log', tonumber(ARGV[1])
local last = open_list()
local latest = {}
for list = last, math.max(last - LISTS, 0), -1 do
  if #latest >= limit then break end
  local events = call('LRANGE', log .. ':' .. list, -limit, -1)
  for i = #events, 1, -1 do
    if events[i] ~= '' and #latest < limit then latest[#latest + 1] = events[i] end
  end
end
local found = {last, call('LLEN', log .. ':' .. last)}
for i = #latest, 1, -1 do found[#found + 1] = latest[i] end
return found
