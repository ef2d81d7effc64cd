-- Where the indexes have a record. `add(set, member, score)` and `listed` stand before this.

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

-- Put a record's entries into the indexes.
local function enter(names, key, value, now)
  local flags, partition, state = tail(value)
  add(key_set(names, partition, state), key, 0)
  if band(flags, EXPIRES) ~= 0 then add(names.expiry, sub(value, AT_EXPIRES, AT_EXPIRES + 7) .. key, 0) end
  if band(flags, DUE) ~= 0 then enqueue(names, key, partition, place(value), number(value, AT_DUE), now) end
end
