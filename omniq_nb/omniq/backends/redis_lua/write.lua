-- Apply batches of operations, each caller's its own.
--
-- ARGV, after those of `call`: the heads of the operations, the number of kinds, the kinds, then the operations'
-- arguments. A head is the code, the number of the kind, the index of the operation that it comes `after` (2^32-1: none,
-- 2^32-2: one that did not apply), and how many events it appends.

local BEGIN, INSERT, REPLACE, EXTEND, DELETE, APPEND = 0, 1, 2, 3, 4, 5
local HEAD_SIZE, ALWAYS, NEVER = 10, 2 ^ 32 - 1, 2 ^ 32 - 2
local ARGUMENTS = {[INSERT] = 2, [REPLACE] = 3, [EXTEND] = 3, [DELETE] = 2}
local MOST_HANDED = 100 -- records in one call: of more, each claimer takes his share by a claim of his own

local heads = ARGV[5]
local first_kind = 7
local argument = first_kind + tonumber(ARGV[6])
local stored, changed = {}, false -- kind -> key -> value, or false
local dirty, events = {}, {}
local claimable = 0 -- how many records became it, now or later

local function head_at(at)
  local code, kind, a, b, c, d, e, f, g, h = byte(heads, at, at + HEAD_SIZE - 1)
  return code, kind, ((a * 256 + b) * 256 + c) * 256 + d, ((e * 256 + f) * 256 + g) * 256 + h
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

-- Read the records that the operations name, before the first is applied.
local function read()
  local keys, at = {}, argument
  for head = 1, #heads, HEAD_SIZE do
    local code, kind = byte(heads, head, head + 1)
    if code == APPEND then
      local _, _, _, count = head_at(head)
      at = at + count
    elseif code ~= BEGIN then
      kind = ARGV[first_kind + kind]
      local of_kind = keys[kind] or {}
      keys[kind] = of_kind
      of_kind[#of_kind + 1] = ARGV[at]
      at = at + ARGUMENTS[code]
    end
  end
  for kind, names in pairs(keys) do
    local of_kind = {}
    for i, value in ipairs(get_all(of(kind).records, names)) do
      of_kind[names[i]] = value and check(kind, names[i], value)
    end
    stored[kind], dirty[kind] = of_kind, {}
  end
end

local function write_records()
  -- First what may be refused because memory is full: then nothing has been written yet.
  for kind, keys in pairs(dirty) do
    local kept, gone = {}, {}
    for key in pairs(keys) do
      local value = stored[kind][key]
      if value then
        kept[#kept + 1] = key
        kept[#kept + 1] = value
      else
        gone[#gone + 1] = key
      end
    end
    in_chunks('HSET', of(kind).records, kept)
    in_chunks('HDEL', of(kind).records, gone)
    dirty[kind] = {}
  end
end

local function write_changes()
  for kind, keys in pairs(dirty) do
    local names = of(kind)
    for key in pairs(keys) do
      local value = stored[kind][key]
      if value then enter(names, key, value, now) end
    end
  end
  write_records()
  write_indexes()
end

local function store(kind, key, old, new)
  if dirty[kind][key] then write_changes() end -- changed twice: the indexes must not see it at once
  if old then leave(of(kind), key, old, now) end
  stored[kind][key] = new
  dirty[kind][key] = true
  changed = true
end

local function note_claimable(value)
  if band(byte(value, AT_FLAGS), DUE) ~= 0 then claimable = claimable + 1 end
end

local function still(kind, key, its_fence)
  local value = stored[kind][key]
  return value and fence(value) == its_fence and value
end

local apply = {
  [INSERT] = function(kind, key, value)
    if stored[kind][key] then return false end
    store(kind, key, nil, value)
    note_claimable(value)
    return true
  end,
  [REPLACE] = function(kind, key, its_fence, value)
    local old = still(kind, key, its_fence)
    if not old then return false end
    store(kind, key, old, value)
    note_claimable(value)
    return true
  end,
  [EXTEND] = function(kind, key, its_fence, due)
    local old = still(kind, key, its_fence)
    if not old then return false end
    local flags = string.char(bor(byte(old, AT_FLAGS), DUE))
    local new = sub(old, 1, AT_DUE - 1) .. due .. sub(old, AT_EXPIRES, AT_FLAGS - 1) .. flags .. sub(old, AT_FLAGS + 1)
    store(kind, key, old, new)
    return true
  end,
  [DELETE] = function(kind, key, its_fence)
    local old = still(kind, key, its_fence)
    if not old then return false end
    store(kind, key, old, false)
    return true
  end,
}

local outcomes, begin = {}, 0
read()
for at = 1, #heads, HEAD_SIZE do
  local code, kind, after, count = head_at(at)
  local goes = after == ALWAYS or after ~= NEVER and outcomes[begin + after + 1]
  if code == BEGIN then
    begin = #outcomes
  elseif code == APPEND then
    if goes then
      for i = argument, argument + count - 1 do events[#events + 1] = ARGV[i] end
    end
    argument = argument + count
    outcomes[#outcomes + 1] = goes
  else
    outcomes[#outcomes + 1] = goes
      and apply[code](ARGV[first_kind + kind], ARGV[argument], ARGV[argument + 1], ARGV[argument + 2])
    argument = argument + ARGUMENTS[code]
  end
end

-- Those to whom records are given are told when all is written.
local function hand_over_of(kind, names, standing)
  local due, of_kind = {}, stored[kind]
  for key in pairs(dirty[kind]) do
    due[#due + 1] = of_kind[key] and due_now(key, of_kind[key], now) or nil
  end
  claimable = claimable - hand_over(kind, names, standing, due, now)
  for _, record in ipairs(due) do of_kind[record.key] = record.value end
end

if claimable > 0 and claimable <= MOST_HANDED then
  for kind in pairs(dirty) do
    local names = of(kind)
    local standing = standing_claims(names, now)
    if #standing > 0 then hand_over_of(kind, names, standing) end
  end
end
if changed then write_changes() end
if #events > 0 then write_events(events, 1, #events) end
for i, applied in ipairs(outcomes) do outcomes[i] = applied and '1' or '0' end
local said = table.concat(outcomes)
if changed or #events > 0 then conclude(said, claimable > 0) end
tell_claimers()
return {digits(now), said, claimable > 0 and 1 or 0}
