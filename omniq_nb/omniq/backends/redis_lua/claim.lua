-- Claim records of one kind.
--
-- ARGV: the moment or '', the writer, the number of its claim, '1' if the claim is sent again, the kind, the owner, the
-- limit, the lease, '1' for every partition but those that follow, or '0' for those that follow, in their order.
-- Gives the moment, then key and value of each record, in order.

local PROMOTED = 5000 -- records that one claim makes ready at most, so that it never holds the server up for long

local CLAIM_KEPT = 600000 -- milliseconds for which a claimer may ask again

local now, number_of_claim, again, kind, owner = moment(ARGV[1]), ARGV[3], ARGV[4] == '1', ARGV[5], ARGV[6]
local limit, lease, every = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9] == '1'
local FIRST_PARTITION = 10
local names, last_claim = of(kind), prefix .. 'claim:' .. ARGV[2]
local found = {digits(now)}

-- What a claim whose answer was lost has taken, and still holds.
local function claimed_before()
  local last = call('GET', last_claim)
  local keys_and_versions = last and cmsgpack.unpack(last)
  if not last or keys_and_versions[1] ~= number_of_claim then return false end
  for i = 2, #keys_and_versions, 2 do
    local key, version = keys_and_versions[i], keys_and_versions[i + 1]
    local value = call('HGET', names.records, key)
    if value and sub(check(kind, key, value), 2, 9) == version then
      found[#found + 1] = key
      found[#found + 1] = value
    end
  end
  return true
end

if again and claimed_before() then return found end

-- What was to come later and is due goes to its partition's ready set.
local function promote()
  local due = call('ZRANGE', names.later, '-inf', digits(now), 'BYSCORE', 'LIMIT', 0, PROMOTED)
  if #due == 0 then return end
  for i, value in ipairs(get_all(names.records, due)) do
    local key = due[i]
    put(names.later, key, false)
    if value then
      local _, _, created, _, rank, _, due_at, _, flags, of_partition =
        unpack_fields(HEADER, check(kind, key, value))
      local partition = sub(value, HEADER_SIZE + 1, HEADER_SIZE + of_partition)
      if band(flags, DUE) ~= 0 then enqueue(names, key, partition, rank, created, number(due_at), now) end
    end
  end
  write_indexes()
end

local function served()
  local found = {}
  if every then
    local excluded = {}
    for i = FIRST_PARTITION, #ARGV do excluded[ARGV[i]] = true end
    for _, partition in ipairs(call('SMEMBERS', names.partitions)) do
      if not excluded[partition] then found[#found + 1] = {partition = partition, position = 0} end
    end
  else
    for i = FIRST_PARTITION, #ARGV do found[#found + 1] = {partition = ARGV[i], position = i} end
  end
  return found
end

local function before(one, other)
  if one.rank ~= other.rank then return one.rank < other.rank end
  if one.position ~= other.position then return one.position < other.position end
  if one.created ~= other.created then return one.created < other.created end
  return precedes(one.member, other.member)
end

promote()
local partitions, open = served(), {}
-- Each ready set is read in steps: as much as is wanted, where there is one set, and a share of it where there are many.
local width = math.ceil(limit / math.max(#partitions, 1)) + (#partitions > 1 and 8 or 0)

local function advance(source)
  source.at = source.at + 1
  if source.at > #source.window then
    source.window = call('ZRANGE', source.set, source.seen, source.seen + width - 1)
    source.seen, source.at = source.seen + #source.window, 1
  end
  source.member = source.window[source.at]
  if not source.member then return false end
  source.rank, source.created = number(sub(source.member, 1, 8)), number(sub(source.member, 9, 16))
  return true
end

for _, source in ipairs(partitions) do
  source.set, source.window, source.at, source.seen, source.taken = ready_set(names, source.partition), {}, 0, 0, 0
  if limit > 0 and advance(source) then open[#open + 1] = source end
end

local written, keys_and_versions = {}, {number_of_claim}
local now_bytes, due_bytes = eight(now), eight(now + lease)

local function claim(member, partition, key, value)
  local _, version, created, claims, rank, _, due, expires, flags, of_partition, of_state, of_owner =
    unpack_fields(HEADER, check(kind, key, value))
  local state_at = HEADER_SIZE + of_partition + 1
  -- An entry that a clock which went back, or a hand, has left behind is none.
  if band(flags, DUE) == 0 or number(due) > now or rank .. created ~= sub(member, 1, 16)
    or sub(value, HEADER_SIZE + 1, state_at - 1) ~= partition then
    return
  end
  local state = sub(value, state_at, state_at + of_state - 1)
  local claimed = pack(
    HEADER, MAGIC, version + 1, created, claims + 1, rank, now_bytes, due_bytes, expires,
    bor(flags, DUE + OWNER), of_partition, #RUNNING, #owner
  ) .. partition .. RUNNING .. owner .. sub(value, state_at + of_state + of_owner)
  if state ~= RUNNING then
    put(key_set(names, partition, state), key, false)
    put(key_set(names, partition, RUNNING), key, 0)
  end
  enqueue(names, key, partition, rank, created, now + lease, now)
  written[#written + 1] = key
  written[#written + 1] = claimed
  found[#found + 1] = key
  found[#found + 1] = claimed
  keys_and_versions[#keys_and_versions + 1] = key
  keys_and_versions[#keys_and_versions + 1] = sub(claimed, 2, 9)
end

while #open > 0 and #written < 2 * limit do
  local members, owners = {}, {}
  merge(open, before, advance, limit - #written / 2, function(source)
    members[#members + 1], owners[#owners + 1] = source.member, source.partition
    source.taken = source.taken + 1
  end)
  local keys = {}
  for i, member in ipairs(members) do keys[i] = sub(member, 17) end
  for i, value in ipairs(get_all(names.records, keys)) do
    if value then claim(members[i], owners[i], keys[i], value) end
  end
end

in_chunks('HSET', names.records, written)
for _, source in ipairs(partitions) do
  if source.taken > 0 then call('ZREMRANGEBYRANK', source.set, 0, source.taken - 1) end
  if source.taken == source.seen and call('EXISTS', source.set) == 0 then
    call('SREM', names.partitions, source.partition)
  end
end
write_indexes()
if #written > 0 then call('SET', last_claim, cmsgpack.pack(keys_and_versions), 'PX', CLAIM_KEPT) end
return found
