-- A page of records that expire before a moment, in order of (expires_at, key).
--
-- ARGV: the kind, which of the others are set (letters: p, s for partition, state), the partition, the state, the prefix
-- of the keys, the limit, the moment in eight bytes, the cursor: expires_at in eight bytes and the key, or ''.
-- Gives the cursor or false, then keys and values.

local STEP, STEPS = 500, 10 -- how many records one call looks at

local kind, set_ones, partition, state, prefix_of_keys = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local limit, before, cursor = tonumber(ARGV[6]), ARGV[7], ARGV[8]
local names = of(kind)

if not string.find(set_ones, 'p', 1, true) then partition = nil end
if not string.find(set_ones, 's', 1, true) then state = nil end

local function matches(key, value)
  if sub(key, 1, #prefix_of_keys) ~= prefix_of_keys then return false end
  local _, _, _, _, _, _, _, _, _, of_partition, of_state = unpack_fields(HEADER, check(kind, key, value))
  local state_at = HEADER_SIZE + of_partition + 1
  return (not partition or sub(value, HEADER_SIZE + 1, state_at - 1) == partition)
    and (not state or sub(value, state_at, state_at + of_state - 1) == state)
end

local found = {false}
for _ = 1, STEPS do
  local low = cursor == '' and '-' or '(' .. cursor
  local members = call('ZRANGE', names.expiry, low, '(' .. before, 'BYLEX', 'LIMIT', 0, STEP)
  local keys = {}
  for i, member in ipairs(members) do keys[i] = sub(member, 9) end
  for i, value in ipairs(get_all(names.records, keys)) do
    cursor = members[i]
    if value and matches(keys[i], value) then
      found[#found + 1] = keys[i]
      found[#found + 1] = value
      if #found == 2 * limit + 1 then
        found[1] = cursor
        return found
      end
    end
  end
  if #members < STEP then return found end
end
found[1] = cursor
return found
