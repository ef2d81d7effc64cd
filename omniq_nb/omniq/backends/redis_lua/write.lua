-- Apply batches of operations, each caller's its own.
--
-- ARGV: the moment or '', the writer, the number of its call, '1' if the call is sent again, the heads of the
-- operations, the number of kinds, the kinds, then the operations' arguments. A head is the code, the number of the
-- kind, the index of the operation that it comes `after` (2^32-1: none, 2^32-2: one that did not apply), and how many
-- events it appends. Gives the moment, the outcomes, a '1' or '0' each, and whether something may be claimable now that
-- was not handed over.

local BEGIN, INSERT, REPLACE, EXTEND, DELETE, APPEND = 0, 1, 2, 3, 4, 5
local HEAD_SIZE, ALWAYS, NEVER = 10, 2 ^ 32 - 1, 2 ^ 32 - 2
local ARGUMENTS = {[INSERT] = 2, [REPLACE] = 3, [EXTEND] = 3, [DELETE] = 2}
local CALL_KEPT = 600000 -- milliseconds for which a writer may ask again
local BLOCK = 1000 -- events in one part of the log
local MOST_HANDED = 100 -- records in one call: of more, each claimer takes his share by a claim of his own
local LARGEST_HANDED = 65536 -- bytes that one claimer is given: the server drops listeners who are sent too much

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
local stored, changed = {}, false -- kind -> key -> value, or false
local dirty, events = {}, {}
local claimable = 0 -- how many records became it, now or later

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

-- The log is a list per thousand events or some more, so that no call touches much of it. `log` says which one is open.
local function write_events()
  local log, list = prefix .. 'log', open_list()
  for first = 1, #events, BLOCK do
    local last = math.min(first + BLOCK - 1, #events)
    if call('RPUSH', log .. ':' .. list, unpack(events, first, last)) >= BLOCK then
      note_span(list)
      list = list + 1
      call('HSET', log, 'list', list)
    end
  end
end

-- What of the records that were just changed can be claimed now.
local function due_of(kind)
  local found = {}
  for key in pairs(dirty[kind]) do
    local value = stored[kind][key]
    if value and band(byte(value, AT_FLAGS), DUE) ~= 0 and number(value, AT_DUE) <= now then
      local _, partition = tail(value)
      found[#found + 1] = {key = key, value = value, partition = partition, place = place(value) .. key}
    end
  end
  return found
end

-- What a claim would take of them, in its order.
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
  table.sort(found, function(one, other)
    local a, b = number(one.place, 1), number(other.place, 1)
    if a ~= b then return a < b end
    if one.position ~= other.position then return one.position < other.position end
    return precedes(one.place, other.place)
  end)
  return found
end

-- A claim that would find anything else has to look for itself.
local function may_be_given(claim, ready)
  if claim.until_ < now then return false end
  local listed = {}
  for _, partition in ipairs(claim.partitions) do listed[partition] = true end
  for _, partition in ipairs(ready) do
    if (claim.every and not listed[partition]) or (not claim.every and listed[partition]) then return false end
  end
  return call('PUBSUB', 'SHARDNUMSUB', prefix .. 'handed:' .. claim.writer)[2] > 0
end

-- Gives what the claimer is to be told: the kind, himself, keys and values, each with its length before it; and how many
-- records he was given.
local function give(kind, claim, due)
  local told, size, given = {}, 0, 0
  local function tell(text)
    told[#told + 1] = pack('>I4', #text)
    told[#told + 1] = text
  end
  tell(kind)
  tell(claim.owner)
  for _, record in ipairs(taken_by(claim, due)) do
    size = size + #record.value
    if given == claim.limit or size > LARGEST_HANDED then break end
    local value = claimed(kind, record.key, record.value, claim.owner, now, now + claim.lease)
    stored[kind][record.key], record.is_taken, given = value, true, given + 1
    tell(record.key)
    tell(value)
  end
  claimable = claimable - given
  return given > 0 and table.concat(told), given
end

-- Give what was just made claimable to those whose claims stand: in memory, before it is written. What stands no more,
-- and what claimers are to be told, is for later.
local ended, messages = {}, {}
local function hand_over()
  for kind in pairs(dirty) do
    local standing = call('HGETALL', standing_of(kind))
    local names = of(kind)
    if #standing > 0 and #call('ZRANGE', names.later, '-inf', digits(now), 'BYSCORE', 'LIMIT', 0, 1) == 0 then
      local ready, due = call('SMEMBERS', names.partitions), due_of(kind)
      local left = #due
      for i = 1, #standing, 2 do
        if left == 0 then break end -- however many stand, a lone record is offered to few
        local claim = cmsgpack.unpack(standing[i + 1])
        local may = may_be_given(claim, ready)
        local message, given
        if may then message, given = give(kind, claim, due) end
        if message then
          messages[#messages + 1] = {prefix .. 'handed:' .. claim.writer, message}
          left = left - given
        end
        if message or not may then ended[#ended + 1] = {standing_of(kind), claim.owner} end
      end
    end
  end
end

if claimable > 0 and claimable <= MOST_HANDED then hand_over() end
if changed then write_changes() end
for _, each in ipairs(ended) do call('HDEL', each[1], each[2]) end
if #events > 0 then write_events() end
for i, applied in ipairs(outcomes) do outcomes[i] = applied and '1' or '0' end
local said = table.concat(outcomes)
if changed or #events > 0 then
  call('SET', last_call, number_of_call .. ':' .. said, 'PX', CALL_KEPT)
  -- Who hears of all changes is told first: the server sends the last message soonest, as a rule.
  call('SPUBLISH', prefix .. 'changes', writer)
  if claimable > 0 then call('SPUBLISH', prefix .. 'claimable', writer) end
end
for _, message in ipairs(messages) do call('SPUBLISH', message[1], message[2]) end
return {digits(now), said, claimable > 0 and 1 or 0}
