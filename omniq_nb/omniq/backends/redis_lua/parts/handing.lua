-- Give what is about to be written to those whose claims stand and who listen: a record that is due is written as theirs.

local LARGEST_HANDED = 65536 -- bytes that one claimer is given: the server drops listeners who are sent too much

-- The claims that stand no more, and what claimers are to be told: for when all is written.
local ended, messages = {}, {}

-- A record that may be handed over, or nil.
local function due_now(key, value, now)
  if band(byte(value, AT_FLAGS), DUE) == 0 or number(value, AT_DUE) > now then return nil end
  local _, partition = tail(value)
  return {key = key, value = value, partition = partition, place = place(value) .. key}
end

-- What a claim would take of records that are due, in its order.
local function taken_by(claim, due)
  local positions = {}
  for i, partition in ipairs(claim.partitions) do positions[partition] = positions[partition] or i end
  local found = {}
  for _, record in ipairs(due) do
    local position = positions[record.partition]
    if claim.every then position = not position and 0 or nil end
    if position and not record.is_taken then
      record.position = position
      found[#found + 1] = record
    end
  end
  if #found > 1 then
    table.sort(found, function(one, other)
      local a, b = number(one.place, 1), number(other.place, 1)
      if a ~= b then return a < b end
      if one.position ~= other.position then return one.position < other.position end
      return precedes(one.place, other.place)
    end)
  end
  return found
end

-- A claim that would find anything else has to look for itself.
local function may_be_given(claim, ready, now)
  if claim.until_ < now then return false end
  local named = {}
  for _, partition in ipairs(claim.partitions) do named[partition] = true end
  for _, partition in ipairs(ready) do
    if (claim.every and not named[partition]) or (not claim.every and named[partition]) then return false end
  end
  return call('PUBSUB', 'SHARDNUMSUB', prefix .. 'handed:' .. claim.writer)[2] > 0
end

-- Give records to a claimer: they change in memory. Gives how many there were; he is to be told the kind, himself, keys
-- and values, each with its length before it.
local function give(kind, claim, due, now)
  local told, size, given = {pack('>I4', #kind), kind, pack('>I4', #claim.owner), claim.owner}, 0, 0
  local times = times_of(now, now + claim.lease)
  for _, record in ipairs(taken_by(claim, due)) do
    size = size + #record.value
    if given == claim.limit or size > LARGEST_HANDED then break end
    record.value = claimed(kind, record.key, record.value, claim.owner, now, times)
    record.is_taken, given = true, given + 1
    local at = #told
    told[at + 1], told[at + 2] = pack('>I4', #record.key), record.key
    told[at + 3], told[at + 4] = pack('>I4', #record.value), record.value
  end
  if given > 0 then messages[#messages + 1] = {prefix .. 'handed:' .. claim.writer, table.concat(told)} end
  return given
end

-- The claims of a kind that stand, owners and what they claim in turn; none where an earlier record waits to be claimed.
local function standing_claims(names, now)
  local standing = call('HGETALL', names.standing)
  if #standing > 0 and #call('ZRANGE', names.later, '-inf', digits(now), 'BYSCORE', 'LIMIT', 0, 1) > 0 then return {} end
  return standing
end

-- Hand over what there is of records that are due; gives how many were.
local function hand_over(kind, names, standing, due, now)
  local ready, left = call('SMEMBERS', names.partitions), #due
  for i = 1, #standing, 2 do
    if left == 0 then break end -- however many stand, a lone record is offered to few
    local claim = cmsgpack.unpack(standing[i + 1])
    local may = may_be_given(claim, ready, now)
    local given = may and give(kind, claim, due, now) or 0
    left = left - given
    if given > 0 or not may then ended[#ended + 1] = {names.standing, claim.owner} end
  end
  return #due - left
end

local function tell_claimers()
  for _, each in ipairs(ended) do call('HDEL', each[1], each[2]) end
  for _, message in ipairs(messages) do call('SPUBLISH', message[1], message[2]) end
end
