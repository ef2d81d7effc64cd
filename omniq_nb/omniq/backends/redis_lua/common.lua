-- What the scripts share; it stands before each of them.
--
-- KEYS[1] is the store's key `meta`. All other keys begin as it does, so they have its hash tag and lie in its slot.
-- A script looks first, decides in memory, and writes last: an error while it looks leaves the store as it was.

local call, pack, unpack_fields = redis.call, struct.pack, struct.unpack
local byte, sub, band, bor = string.byte, string.sub, bit.band, bit.bor
local prefix = sub(KEYS[1], 1, -5)

local MAGIC = 1
-- Magic, rank, created_at, version, claims, updated_at, due_at, expires_at, flags, lengths of partition, state, owner.
-- These three follow, and the body. Where order matters, eight bytes sort as the numbers do. What is often needed lies
-- together: rank and creation are the place in a ready set, creation and version are the fence.
local HEADER_SIZE = 64
local AT_DUE, AT_EXPIRES, AT_FLAGS = 42, 50, 58
local TWO_WORDS = '>I4I4'
local DUE, EXPIRES, OWNER = 1, 2, 4
local RUNNING = 'running'
local MOST_ARGUMENTS = 4000 -- Lua's stack holds some 8,000 values

-- Numbers are doubles here: exact to the microsecond until the year 2255.
local function number(bytes, at)
  local high, low = unpack_fields(TWO_WORDS, bytes, at)
  return (high - 2147483648) * 4294967296 + low
end

local function eight(number)
  local high = math.floor(number / 4294967296)
  return pack(TWO_WORDS, high + 2147483648, number - high * 4294967296)
end

local function place(value)
  return sub(value, 2, 17)
end

local function fence(value)
  return sub(value, 10, 25)
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

-- Changes of sorted sets gather here until `write_indexes`: set -> what it loses, then what it gains. So between two
-- calls of that a record may change only once.
local changes = {}
-- Sets that are listed somewhere while they have members: set -> {list, name}.
local listed = {}

local function change_of(set)
  local change = changes[set]
  if not change then
    change = {removed = {}, removals = 0, added = {}, additions = 0}
    changes[set] = change
  end
  return change
end

local function remove(set, member)
  local change = change_of(set)
  change.removals = change.removals + 1
  change.removed[change.removals] = member
end

local function add(set, member, score)
  local change = change_of(set)
  local added, at = change.added, change.additions
  added[at + 1] = score
  added[at + 2] = member
  change.additions = at + 2
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

-- Put a record where claims look for it.
local function enqueue(names, key, partition, its_place, due_at, now)
  if due_at <= now then
    add(ready_set(names, partition), its_place .. key, 0)
  else
    add(names.later, key, due_at)
  end
end

-- Flags, partition and state of a record. (`byte` is several times faster than `struct.unpack`.)
local function tail(value)
  local flags, high, low, state_high, state_low = byte(value, AT_FLAGS, AT_FLAGS + 4)
  local state_at = HEADER_SIZE + high * 256 + low + 1
  return flags, sub(value, HEADER_SIZE + 1, state_at - 1), sub(value, state_at, state_at + state_high * 256 + state_low - 1)
end

-- Take a record's entries out of the indexes.
local function leave(names, key, value, now)
  local flags, partition, state = tail(value)
  remove(key_set(names, partition, state), key)
  if band(flags, DUE) ~= 0 then
    remove(names.later, key)
    -- A claim has made what is due ready, or has not yet.
    if number(value, AT_DUE) <= now then remove(ready_set(names, partition), place(value) .. key) end
  end
  if band(flags, EXPIRES) ~= 0 then remove(names.expiry, sub(value, AT_EXPIRES, AT_EXPIRES + 7) .. key) end
end

-- Put a record's entries into the indexes; says whether it can be claimed, now or later.
local function enter(names, key, value, now)
  local flags, partition, state = tail(value)
  add(key_set(names, partition, state), key, 0)
  if band(flags, EXPIRES) ~= 0 then add(names.expiry, sub(value, AT_EXPIRES, AT_EXPIRES + 7) .. key, 0) end
  if band(flags, DUE) == 0 then return false end
  enqueue(names, key, partition, place(value), number(value, AT_DUE), now)
  return true
end

-- A record as a claim makes it, with its state and partition, if it is due; else when it is.
local function claimed(kind, key, value, owner, now, due_at)
  local version, claims, _, due_high, due_low, expires, flags, of_partition, of_state, of_owner =
    unpack_fields('>I8I8c8I4I4c8BI2I2I2', check(kind, key, value), 18)
  if band(flags, DUE) == 0 then return nil end
  local its_due_at = (due_high - 2147483648) * 4294967296 + due_low
  if its_due_at > now then return nil, nil, nil, its_due_at end
  local state_at = HEADER_SIZE + of_partition + 1
  local partition, state = sub(value, HEADER_SIZE + 1, state_at - 1), sub(value, state_at, state_at + of_state - 1)
  return pack(
    '>Bc16I8I8c8c8c8BI2I2I2', MAGIC, place(value), version + 1, claims + 1, eight(now), eight(due_at), expires,
    bor(flags, DUE + OWNER), of_partition, #RUNNING, #owner
  ) .. partition .. RUNNING .. owner .. sub(value, state_at + of_state + of_owner), partition, state
end

local function write_indexes()
  for set, change in pairs(changes) do
    in_chunks('ZREM', set, change.removed)
    in_chunks('ZADD', set, change.added)
    local list = listed[set]
    if list and change.additions > 0 then
      call('SADD', list[1], list[2])
    elseif list and call('EXISTS', set) == 0 then
      call('SREM', list[1], list[2])
    end
  end
  changes = {}
end

-- The claims of a kind that stand: a hash, owner to what he claims, packed.
local function standing_of(kind)
  return prefix .. 'standing:' .. kind
end

-- Note when the first and the last event of one of the log's lists were, as `log:first` and `log:last` have it for each
-- list that is full. Whoever asks for these notes the open list's before.
local function note_span(list)
  local earliest, latest = math.huge, -math.huge
  for _, event in ipairs(call('LRANGE', prefix .. 'log:' .. list, 0, -1)) do
    if event ~= '' then
      local ts = number(event, 1)
      earliest, latest = math.min(earliest, ts), math.max(latest, ts)
    end
  end
  if earliest < math.huge then
    call('ZADD', prefix .. 'log:first', digits(earliest), list)
    call('ZADD', prefix .. 'log:last', digits(latest), list)
  end
end

local function open_list()
  return tonumber(call('HGET', prefix .. 'log', 'list') or 0)
end
