-- How many records of a kind, ARGV[1], each group has: length of the partition ':' partition ':' state, then the number.

local names, found = of(ARGV[1]), {}
for _, group in ipairs(call('SMEMBERS', names.groups)) do
  found[#found + 1] = group
  found[#found + 1] = call('ZCARD', names.keys .. group)
end
return found
