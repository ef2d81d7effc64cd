-- Add one record, and events if it was added: what `write` does, for what is written most often, in far fewer steps.
--
-- ARGV, after those of `call`: the kind, the key, the record, the events.

local kind, key, value = ARGV[5], ARGV[6], ARGV[7]
local FIRST_EVENT = 8

local names = of(kind)
local there = call('HGET', names.records, key)
if there then
  check(kind, key, there)
  return {digits(now), '00', 0}
end

local claimable = band(byte(value, AT_FLAGS), DUE) ~= 0
local record = due_now(key, value, now)
local standing = record and standing_claims(names, now) or {}
if #standing > 0 and hand_over(kind, names, standing, {record}, now) > 0 then value, claimable = record.value, false end

call('HSET', names.records, key, value) -- may be refused because memory is full: then nothing has been written yet
enter(names, key, value, now)
if #ARGV >= FIRST_EVENT then write_events(ARGV, FIRST_EVENT, #ARGV) end
conclude('11', claimable)
tell_claimers()
return {digits(now), '11', claimable and 1 or 0}
