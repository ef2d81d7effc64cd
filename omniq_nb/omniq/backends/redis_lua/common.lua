-- What the scripts share; it stands before each of them.
--
-- KEYS[1] is the store's key `meta`. All other keys begin as it does, so they have its hash tag and lie in its slot.
-- A script looks first, decides in memory, and writes last: an error while it looks leaves the store as it was.

local call, pack, unpack_fields = redis.call, struct.pack, struct.unpack
local byte, sub, band, bor = string.byte, string.sub, bit.band, bit.bor
local prefix = sub(KEYS[1], 1, -5)

local MAGIC = 1
-- Magic, version, created_at, claims, rank, updated_at, due_at, expires_at, flags, lengths of partition, state, owner.
-- These three follow, and the body. Where order matters, eight bytes sort as the numbers do.
local HEADER, HEADER_SIZE = '>BI8c8I8c8c8c8c8BI2I2I2', 64
local DUE, EXPIRES, OWNER = 1, 2, 4
local RUNNING = 'running'
local MOST_ARGUMENTS = 4000 -- Lua's stack holds some 8,000 values

-- Numbers are doubles here: exact to the microsecond until the year 2255.
local function number(eight)
  local high, low = unpack_fields('>I4I4', eight)
  return (high - 2147483648) * 4294967296 + low
end

local function eight(number)
  local high = math.floor(number / 4294967296)
  return pack('>I4I4', high + 2147483648, number - high * 4294967296)
end

local function digits(number)
  return string.format('%.0f', number)
end

-- The caller's clock if it has one of its own, else the server's.
local function moment(given)
  if given ~= '' then return tonumber(given) end
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

local function in_chunks(command, key, arguments)
  for first = 1, #arguments, MOST_ARGUMENTS do
    call(command, key, unpack(arguments, first, math.min(first + MOST_ARGUMENTS - 1, #arguments)))
  end
end

local function get_all(key, fields)
  local found = {}
  for first = 1, #fields, MOST_ARGUMENTS do
    local last = math.min(first + MOST_ARGUMENTS - 1, #fields)
    local values = call('HMGET', key, unpack(fields, first, last))
    for i = 1, #values do found[first + i - 1] = values[i] end
  end
  return found
end

local function check(kind, key, value)
  if #value < HEADER_SIZE or byte(value) ~= MAGIC then
    error({err = 'CORRUPT the record ' .. kind .. ' ' .. key .. ' is none of OmniQ\'s'})
  end
  return value
end

-- By bytes. Lua's own `<` goes by the server's locale.
local function precedes(one, other)
  for i = 1, math.min(#one, #other) do
    local a, b = byte(one, i), byte(other, i)
    if a ~= b then return a < b end
  end
  return #one < #other
end

-- Take up to `limit` members from sources, always the one that is first of all. Sources that have no more are dropped.
local function merge(sources, before, advance, limit, take)
  table.sort(sources, before)
  for _ = 1, limit do
    local source = sources[1]
    if not source then return end
    take(source)
    if advance(source) then
      local place = 1
      while sources[place + 1] and before(sources[place + 1], source) do
        sources[place] = sources[place + 1]
        place = place + 1
      end
      sources[place] = source
    else
      table.remove(sources, 1)
    end
  end
end

-- The names of a kind's keys.
local kinds = {}
local function of(kind)
  local names = kinds[kind]
  if not names then
    local tag = #kind .. ':' .. kind .. ':'
    names = {
      records = prefix .. 'records:' .. kind,
      groups = prefix .. 'groups:' .. kind,
      keys = prefix .. 'keys:' .. tag,
      partitions = prefix .. 'partitions:' .. kind,
      ready = prefix .. 'ready:' .. tag,
      later = prefix .. 'later:' .. kind,
      expiry = prefix .. 'expiry:' .. kind,
      key_sets = {},
    }
    kinds[kind] = names
  end
  return names
end

-- Changes of sorted sets gather here, the last one of a member counts: set -> member -> score, or false: away with it.
local changes = {}
-- Sets that are listed somewhere while they have members: set -> {list, name}.
local listed = {}

local function put(set, member, score)
  local members = changes[set]
  if not members then
    members = {}
    changes[set] = members
  end
  members[member] = score
end

local function key_set(names, partition, state)
  local of_partition = names.key_sets[partition]
  if not of_partition then
    of_partition = {}
    names.key_sets[partition] = of_partition
  end
  local set = of_partition[state]
  if not set then
    local group = #partition .. ':' .. partition .. ':' .. state
    set = names.keys .. group
    of_partition[state] = set
    listed[set] = {names.groups, group}
  end
  return set
end

local function ready_set(names, partition)
  local set = names.ready .. partition
  if not listed[set] then listed[set] = {names.partitions, partition} end
  return set
end

-- Take a record's entries out of the indexes.
local function leave(names, key, value, now)
  local _, _, created, _, rank, _, due, expires, flags, of_partition, of_state = unpack_fields(HEADER, value)
  local partition = sub(value, HEADER_SIZE + 1, HEADER_SIZE + of_partition)
  local state = sub(value, HEADER_SIZE + of_partition + 1, HEADER_SIZE + of_partition + of_state)
  put(key_set(names, partition, state), key, false)
  if band(flags, DUE) ~= 0 then
    put(names.later, key, false)
    -- A claim has made what is due ready, or has not yet.
    if number(due) <= now then put(ready_set(names, partition), rank .. created .. key, false) end
  end
  if band(flags, EXPIRES) ~= 0 then put(names.expiry, expires .. key, false) end
end

-- Put a record where claims look for it.
local function enqueue(names, key, partition, rank, created, due_at, now)
  if due_at <= now then
    put(ready_set(names, partition), rank .. created .. key, 0)
  else
    put(names.later, key, due_at)
  end
end

-- Put a record's entries into the indexes; says whether it can be claimed, now or later.
local function enter(names, key, value, now)
  local _, _, created, _, rank, _, due, expires, flags, of_partition, of_state = unpack_fields(HEADER, value)
  local partition = sub(value, HEADER_SIZE + 1, HEADER_SIZE + of_partition)
  local state = sub(value, HEADER_SIZE + of_partition + 1, HEADER_SIZE + of_partition + of_state)
  put(key_set(names, partition, state), key, 0)
  if band(flags, EXPIRES) ~= 0 then put(names.expiry, expires .. key, 0) end
  if band(flags, DUE) == 0 then return false end
  enqueue(names, key, partition, rank, created, number(due), now)
  return true
end

local function write_indexes()
  for set, members in pairs(changes) do
    local added, removed = {}, {}
    for member, score in pairs(members) do
      if score then
        added[#added + 1] = score
        added[#added + 1] = member
      else
        removed[#removed + 1] = member
      end
    end
    in_chunks('ZADD', set, added)
    in_chunks('ZREM', set, removed)
    local list = listed[set]
    if list and #added > 0 then
      call('SADD', list[1], list[2])
    elseif list and call('EXISTS', set) == 0 then
      call('SREM', list[1], list[2])
    end
  end
  changes = {}
end
