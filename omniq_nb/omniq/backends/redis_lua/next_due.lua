-- When a record of a kind is due next. ARGV: the moment or '', the kind. Gives the moment, and that one or false.

local now = moment(ARGV[1])
local names = of(ARGV[2])
local key = call('ZRANGE', names.later, '(' .. digits(now), '+inf', 'BYSCORE', 'LIMIT', 0, 1)[1]
local value = key and call('HGET', names.records, key)
return {digits(now), value and sub(check(ARGV[2], key, value), 42, 49) or false}
