-- Apply batches of operations, each caller's its own.
--
-- ARGV: the moment or '', the writer, the number of its call, '1' if the call is sent again, the heads of the
-- operations, the number of kinds, the kinds, then the operations' arguments. A head is the code, the number of the
-- kind, the index of the operation that it comes `after` (-1: none, -2: one that did not apply), and how many events it
-- appends.
-- Gives the moment, and the outcomes, a '1' or '0' each.

local BEGIN, INSERT, REPLACE, EXTEND, DELETE, APPEND = 0, 1, 2, 3, 4, 5
local HEAD, HEAD_SIZE = '>BBi4I4', 10
local ALWAYS = -1
local CALL_KEPT = 600000 -- milliseconds for which a writer may ask again
local BLOCK = 1000 -- events in one part of the log

local now = moment(ARGV[1])
local writer, number_of_call, heads = ARGV[2], ARGV[3], ARGV[5]
local last_call = prefix .. 'call:' .. writer

if ARGV[4] == '1' then
  local done = call('GET', last_call)
  local length = done and #number_of_call + 1
  if done and sub(done, 1, length) == number_of_call .. ':' then return {digits(now), sub(done, length + 1)} end
end

local first_kind = 7
local argument = first_kind + tonumber(ARGV[6])
local stored, claimable, changed = {}, false, false -- kind -> key -> value, or false
local dirty, events = {}, {}

local function current(kind, key)
  local of_kind = stored[kind]
  if not of_kind then
    of_kind = {}
    stored[kind] = of_kind
    dirty[kind] = {}
  end
  local value = of_kind[key]
  if value == nil then
    value = call('HGET', of(kind).records, key)
    if value then check(kind, key, value) end
    of_kind[key] = value
  end
  return value
end

local function store(kind, key, old, new)
  stored[kind][key] = new
  dirty[kind][key] = true
  changed = true
  local names = of(kind)
  if old then leave(names, key, old, now) end
  return new and enter(names, key, new, now)
end

local function still(kind, key, fence)
  local value = current(kind, key)
  return value and sub(value, 2, 17) == fence and value
end

local apply = {
  [INSERT] = function(kind, key, value)
    if current(kind, key) then return false end
    if store(kind, key, nil, value) then claimable = true end
    return true
  end,
  [REPLACE] = function(kind, key, fence, value)
    local old = still(kind, key, fence)
    if not old then return false end
    if store(kind, key, old, value) then claimable = true end
    return true
  end,
  [EXTEND] = function(kind, key, fence, due)
    local old = still(kind, key, fence)
    if not old then return false end
    local flags = string.char(bor(byte(old, 58), DUE))
    store(kind, key, old, sub(old, 1, 41) .. due .. sub(old, 50, 57) .. flags .. sub(old, 59))
    return true
  end,
  [DELETE] = function(kind, key, fence)
    local old = still(kind, key, fence)
    if not old then return false end
    store(kind, key, old, false)
    return true
  end,
}
local ARGUMENTS = {[INSERT] = 2, [REPLACE] = 3, [EXTEND] = 3, [DELETE] = 2}

local outcomes, begin = {}, 0
for at = 1, #heads, HEAD_SIZE do
  local code, kind, after, count = unpack_fields(HEAD, heads, at)
  local goes = after == ALWAYS or after >= 0 and outcomes[begin + after + 1]
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

local function write_records()
  -- First what may be refused because memory is full: then nothing has been written yet.
  for _, command in ipairs({'HSET', 'HDEL'}) do
    for kind, keys in pairs(dirty) do
      local arguments = {}
      for key in pairs(keys) do
        local value = stored[kind][key]
        if value and command == 'HSET' then
          arguments[#arguments + 1] = key
          arguments[#arguments + 1] = value
        elseif not value and command == 'HDEL' then
          arguments[#arguments + 1] = key
        end
      end
      in_chunks(command, of(kind).records, arguments)
    end
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
      local ts = number(sub(events[i], 1, 8))
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
return {digits(now), said}
