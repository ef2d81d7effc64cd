-- Events that may match: of a span of time, and with all of the texts in them; the caller looks again, more closely.
--
-- ARGV: the earliest moment and the one after the last, in eight bytes or '', the number of texts, the texts, the number
-- of types, the types, of which one must be in it, the lists. Gives each list's events as one array.

local since = ARGV[1] ~= '' and number(ARGV[1]) or -math.huge
local before = ARGV[2] ~= '' and number(ARGV[2]) or math.huge
local find = string.find
local at = 3

local function strings()
  local found, count = {}, tonumber(ARGV[at])
  for i = at + 1, at + count do found[#found + 1] = ARGV[i] end
  at = at + count + 1
  return found
end

local texts, types = strings(), strings()

local function may_match(event)
  if event == '' then return false end
  local ts = number(sub(event, 1, 8))
  if ts < since or ts >= before then return false end
  for _, text in ipairs(texts) do
    if not find(event, text, 9, true) then return false end
  end
  for _, name in ipairs(types) do
    if find(event, name, 9, true) then return true end
  end
  return #types == 0
end

local found = {}
for i = at, #ARGV do
  local events = {}
  for _, event in ipairs(call('LRANGE', prefix .. 'log:' .. ARGV[i], 0, -1)) do
    if may_match(event) then events[#events + 1] = event end
  end
  found[#found + 1] = events
end
return found
