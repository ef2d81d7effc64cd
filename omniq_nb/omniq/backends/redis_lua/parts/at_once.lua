-- A single record enters each index once, so nothing is gathered.

-- Sets that are listed somewhere while they have members: set -> {list, name}.
local listed = {}

local function add(set, member, score)
  call('ZADD', set, score, member)
  local list = listed[set]
  if list then call('SADD', list[1], list[2]) end
end
