-- What all scripts share; it stands before each of them, and the parts that it uses between the two.
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

-- Numbers are doubles here: exact to the microsecond until the year 2255.
local function number(bytes, at)
  local high, low = unpack_fields(TWO_WORDS, bytes, at)
  return (high - 2147483648) * 4294967296 + low
end

local function place(value)
  return sub(value, 2, 17)
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

local function check(kind, key, value)
  if #value < HEADER_SIZE or byte(value) ~= MAGIC then
    error({err = 'CORRUPT the record ' .. kind .. ' ' .. key .. ' is none of OmniQ\'s'})
  end
  return value
end

-- Flags, partition and state of a record. (`byte` is several times faster than `struct.unpack`.)
local function tail(value)
  local flags, high, low, state_high, state_low = byte(value, AT_FLAGS, AT_FLAGS + 4)
  local state_at = HEADER_SIZE + high * 256 + low + 1
  return flags, sub(value, HEADER_SIZE + 1, state_at - 1), sub(value, state_at, state_at + state_high * 256 + state_low - 1)
end

-- By bytes. Lua's own `<` goes by the server's locale.
local function precedes(one, other)
  for i = 1, math.min(#one, #other) do
    local a, b = byte(one, i), byte(other, i)
    if a ~= b then return a < b end
  end
  return #one < #other
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
      standing = prefix .. 'standing:' .. kind,
      key_sets = {},
    }
    kinds[kind] = names
  end
  return names
end
