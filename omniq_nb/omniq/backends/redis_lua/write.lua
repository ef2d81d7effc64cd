-- Apply batches of operations, each caller's its own.
--
-- ARGV: the moment or '', the writer, the number of its call, '1' if the call is sent again, the heads of the
-- operations, the number of kinds, the kinds, then the operations' arguments. A head is the code, the number of the
-- kind, the index of the operation that it comes `after` (2^32-1: none, 2^32-2: one that did not apply), and how many
-- events it appends. Gives the moment, the outcomes, a '1' or '0' each, and whether something may be claimable now.

local BEGIN, INSERT, REPLACE, EXTEND, DELETE, APPEND = 0, 1, 2, 3, 4, 5
local HEAD_SIZE, ALWAYS, NEVER = 10, 2 ^ 32 - 1, 2 ^ 32 - 2
local ARGUMENTS = {[INSERT] = 2, [REPLACE] = 3, [EXTEND] = 3, [DELETE] = 2}
local CALL_KEPT = 600000 -- milliseconds for which a writer may ask again
local BLOCK = 1000 -- events in one part of the log

local now = moment(ARGV[1])
local writer, number_of_call, heads = ARGV[2], ARGV[3], ARGV[5]
local last_call = prefix .. 'call:' .. writer

if ARGV[4] == '1' then
  local done = call('GET', last_call)
  local length = done and #number_of_call + 1
  if done and sub(done, 1, length) == number_of_call .. ':' then return {digits(now), sub(done, length + 1), 1} end
end

local first_kind = 7
local argument = first_kind + tonumber(ARGV[6])
local stored, claimable, changed = {}, false, false -- kind -> key -> value, or false
local dirty, events = {}, {}

local function head_at(at)
  local code, kind, a, b, c, d, e, f, g, h = byte(heads, at, at + HEAD_SIZE - 1)
  return code, kind, ((a * 256 + b) * 256 + c) * 256 + d, ((e * 256 + f) * 256 + g) * 256 + h
end

-- Read the records that the operations name, before the first is applied.
local function read()
  local keys, at = {}, argument
  for head = 1, #heads, HEAD_SIZE do
    local code, kind, _, count = head_at(head)
    if ARGUMENTS[code] then
      kind = ARGV[first_kind + kind]
      local of_kind = keys[kind] or {}
      keys[kind] = of_kind
      of_kind[#of_kind + 1] = ARGV[at]
      at = at + ARGUMENTS[code]
    else
      at = at + count
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

local function store(kind, key, old, new)
  if dirty[kind][key] then
    -- Changed twice: the indexes must not see it at once.
    write_records()
    write_indexes()
  end
  stored[kind][key] = new
  dirty[kind][key] = true
  changed = true
  local names = of(kind)
  if old then leave(names, key, old, now) end
  return new and enter(names, key, new, now)
end

local function still(kind, key, its_fence)
  local value = stored[kind][key]
  return value and fence(value) == its_fence and value
end

local apply = {
  [INSERT] = function(kind, key, value)
    if stored[kind][key] then return false end
    if store(kind, key, nil, value) then claimable = true end
    return true
  end,
  [REPLACE] = function(kind, key, its_fence, value)
    local old = still(kind, key, its_fence)
    if not old then return false end
    if store(kind, key, old, value) then claimable = true end
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

-- The log is a list per thousand events, so that no call touches much of it. `log` says which list is the last one and
-- how many events went there; `log:first` and `log:last` hold each list's earliest and latest moment.
local function write_events()
  local log = prefix .. 'log'
  local state = call('HMGET', log, 'list', 'events')
  local list, count = tonumber(state[1] or 0), tonumber(state[2] or 0)
  for first = 1, #events, BLOCK do
    local last = math.min(first + BLOCK - 1, #events)
    if count >= BLOCK then list, count = list + 1, 0 end
    local earliest, latest = math.huge, -math.huge
    for i = first, last do
      local ts = number(events[i], 1)
      earliest, latest = math.min(earliest, ts), math.max(latest, ts)
    end
    call('RPUSH', log .. ':' .. list, unpack(events, first, last))
    call('ZADD', log .. ':first', 'LT', digits(earliest), list)
    call('ZADD', log .. ':last', 'GT', digits(latest), list)
    count = count + last - first + 1
  end
  call('HSET', log, 'list', list, 'events', count)
end

if changed then
  write_records()
  write_indexes()
end
if #events > 0 then write_events() end
for i, applied in ipairs(outcomes) do outcomes[i] = applied and '1' or '0' end
local said = table.concat(outcomes)
if changed or #events > 0 then
  call('SET', last_call, number_of_call .. ':' .. said, 'PX', CALL_KEPT)
  call('SPUBLISH', prefix .. 'changes', (claimable and '1' or '0') .. writer)
end
return {digits(now), said, claimable and 1 or 0}
