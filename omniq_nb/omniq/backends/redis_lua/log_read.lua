-- Events after a position. ARGV: the list, the index in it, the limit. Gives the position after them, then the events.

local log = prefix .. 'log'
local list, index, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local last = open_list()
local found = {'', ''}
while list <= last do
  local wanted = limit - #found + 2
  local read = wanted > 0 and call('LRANGE', log .. ':' .. list, index, index + wanted - 1) or {}
  for _, event in ipairs(read) do
    if event ~= '' then found[#found + 1] = event end -- what was trimmed leaves its place empty
  end
  index = index + #read
  if #found - 2 >= limit then break end
  if #read < wanted then
    if list == last then break end
    list, index = list + 1, 0
  end
end
found[1], found[2] = list, index
return found
