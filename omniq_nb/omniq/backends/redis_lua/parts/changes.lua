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

-- What a record's holder must show: its creation and version.
local function fence(value)
  return sub(value, 10, 25)
end
