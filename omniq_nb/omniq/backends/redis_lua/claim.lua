-- Claim records of one kind.
--
-- ARGV: the moment or '', the writer, the number of its claim, '1' if the claim is sent again, the kind, the owner, the
-- limit, the lease, for how long the claim stands if it finds nothing ('0': not at all), the lease of what is handed
-- over then, '1' for every partition but those that follow, or '0' for those that follow, in their order. Gives the
-- moment, then key and value of each record, in order.

local PROMOTED = 5000 -- records that one claim makes ready at most, so that it never holds the server up for long
local PUT_BACK = 5000 -- and as many that it finds ready too early

local CLAIM_KEPT = 600000 -- milliseconds for which a claimer may ask again

local now, number_of_claim, again, kind, owner = moment(ARGV[1]), ARGV[3], ARGV[4] == '1', ARGV[5], ARGV[6]
local limit, lease, lasts, every = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[11] == '1'
local FIRST_PARTITION = 12
local names, last_claim = of(kind), prefix .. 'claim:' .. ARGV[2]
local found = {digits(now)}

-- What a claim whose answer was lost has taken, and still holds.
local function claimed_before()
  local last = call('GET', last_claim)
  local taken = last and cmsgpack.unpack(last)
  if not last or taken[1] ~= number_of_claim then return false end
  for i = 2, #taken, 2 do
    local key, its_fence = taken[i], taken[i + 1]
    local value = call('HGET', names.records, key)
    if value and fence(check(kind, key, value)) == its_fence then
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
    remove(names.later, key)
    if value then
      local flags, partition = tail(check(kind, key, value))
      if band(flags, DUE) ~= 0 then enqueue(names, key, partition, place(value), number(value, AT_DUE), now) end
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
local several = #partitions > 1
-- Each ready set is read in steps: as much as is wanted, where there is one set, and a share of it where there are many.
local width = math.ceil(limit / math.max(#partitions, 1)) + (several and 8 or 0)

local function advance(source)
  source.at = source.at + 1
  if source.at > #source.window then
    source.window = call('ZRANGE', source.set, source.seen, source.seen + width - 1)
    source.seen, source.at = source.seen + #source.window, 1
  end
  source.member = source.window[source.at]
  if not source.member then return false end
  if several then source.rank, source.created = number(source.member, 1), number(source.member, 9) end
  return true
end

for _, source in ipairs(partitions) do
  source.set, source.window, source.at, source.seen, source.taken = ready_set(names, source.partition), {}, 0, 0, 0
  if limit > 0 and advance(source) then open[#open + 1] = source end
end

local written, taken, put_back = {}, {number_of_claim}, 0
local due_at = now + lease
local times = times_of(now, due_at)

local function claim(member, partition, key, value)
  local taken_value, its_partition, state, its_due_at = claimed(kind, key, value, owner, now, times)
  local its_place = sub(member, 1, #member - #key)
  -- An entry that a write by a clock which had gone back, or a hand, has left behind is none.
  if place(value) ~= its_place then return end
  if its_due_at then
    -- The clock has gone back since it was made ready. Its entry is about to go, and would be its only one.
    add(names.later, key, its_due_at)
    put_back = put_back + 1
  end
  if its_partition ~= partition then return end
  if state ~= RUNNING then
    remove(key_set(names, partition, state), key)
    add(key_set(names, partition, RUNNING), key, 0)
  end
  enqueue(names, key, partition, its_place, due_at, now)
  written[#written + 1] = key
  written[#written + 1] = taken_value
  found[#found + 1] = key
  found[#found + 1] = taken_value
  taken[#taken + 1] = key
  taken[#taken + 1] = fence(taken_value)
end

while #open > 0 and #written < 2 * limit and put_back < PUT_BACK do
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
if #written > 0 then call('SET', last_claim, cmsgpack.pack(taken), 'PX', CLAIM_KEPT) end
if #written == 0 and lasts > 0 then
  call('HSET', names.standing, owner, cmsgpack.pack({
    owner = owner, writer = ARGV[2], limit = limit, lease = tonumber(ARGV[10]), until_ = now + lasts,
    every = every, partitions = {unpack(ARGV, FIRST_PARTITION)},
  }))
else
  call('HDEL', names.standing, owner)
end
return found
