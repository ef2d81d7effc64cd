-- A page of records in order of their keys.
--
-- ARGV: the kind, which of the others are set (letters: p, s, c for partition, state, cursor; n for newest first), the
-- partition, the state, the cursor, the prefix, the limit. Gives the cursor or false, then keys and values.

local kind, set_ones, partition, state, cursor = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local prefix_of_keys, limit = ARGV[6], tonumber(ARGV[7])
local newest_first = string.find(set_ones, 'n', 1, true)
local names = of(kind)

if not string.find(set_ones, 'p', 1, true) then partition = nil end
if not string.find(set_ones, 's', 1, true) then state = nil end
if not string.find(set_ones, 'c', 1, true) then cursor = nil end

local function groups()
  if partition and state then return {#partition .. ':' .. partition .. ':' .. state} end
  local found = {}
  for _, group in ipairs(call('SMEMBERS', names.groups)) do
    local colon = string.find(group, ':', 1, true)
    local length = tonumber(sub(group, 1, colon - 1))
    local its_partition, its_state = sub(group, colon + 1, colon + length), sub(group, colon + length + 2)
    if (not partition or its_partition == partition) and (not state or its_state == state) then
      found[#found + 1] = group
    end
  end
  return found
end

local low, high = '-', '+'
if prefix_of_keys ~= '' then low, high = '[' .. prefix_of_keys, '(' .. prefix_of_keys .. '\255' end

local function window(set, after, width)
  if newest_first then
    return call('ZRANGE', set, after and '(' .. after or high, low, 'BYLEX', 'REV', 'LIMIT', 0, width)
  end
  return call('ZRANGE', set, after and '(' .. after or low, high, 'BYLEX', 'LIMIT', 0, width)
end

local function before(one, other)
  if newest_first then return precedes(other.key, one.key) end
  return precedes(one.key, other.key)
end

local sources, keys = {}, {}
local all = groups()
local width = math.ceil(limit / math.max(#all, 1)) + (#all > 1 and 8 or 0)

local function advance(source)
  source.at = source.at + 1
  if source.at > #source.window then
    source.window, source.at = window(source.set, source.key or cursor, width), 1
  end
  source.key = source.window[source.at]
  return source.key
end

for _, group in ipairs(all) do
  local source = {set = names.keys .. group, window = {}, at = 0}
  if advance(source) then sources[#sources + 1] = source end
end
merge(sources, before, advance, limit, function(source) keys[#keys + 1] = source.key end)

local found = {#keys == limit and keys[limit] or false}
for i, value in ipairs(get_all(names.records, keys)) do
  if value then
    found[#found + 1] = keys[i]
    found[#found + 1] = check(kind, keys[i], value)
  end
end
return found
