-- The lists of the log that may hold events of a span of time: latest first. ARGV: the earliest moment or '-inf', the
-- moment after the last or '+inf'. Gives each list and its latest moment.

local log, found = prefix .. 'log', {}
note_span(open_list())
local early = {}
for _, list in ipairs(call('ZRANGE', log .. ':first', '-inf', '(' .. ARGV[2], 'BYSCORE')) do early[list] = true end
local late = call('ZRANGE', log .. ':last', '+inf', ARGV[1], 'BYSCORE', 'REV', 'WITHSCORES')
for i = 1, #late, 2 do
  if early[late[i]] then
    found[#found + 1] = late[i]
    found[#found + 1] = late[i + 1]
  end
end
return found
