-- A call that must not run twice, though it be sent twice because its answer was lost.
--
-- ARGV: the moment or '', the writer, the number of its call, '1' if the call is sent again, then the script's own.
-- Gives the moment, the outcomes, a '1' or '0' for each operation, and whether something may be claimable now that was
-- not handed over.

local CALL_KEPT = 600000 -- milliseconds for which a writer may ask again

local now, writer, number_of_call = moment(ARGV[1]), ARGV[2], ARGV[3]
local last_call = prefix .. 'call:' .. writer

if ARGV[4] == '1' then
  local done = call('GET', last_call)
  local length = done and #number_of_call + 1
  if done and sub(done, 1, length) == number_of_call .. ':' then return {digits(now), sub(done, length + 1), 1} end
end

-- Note what a call did, and tell of it.
local function conclude(said, claimable)
  call('SET', last_call, number_of_call .. ':' .. said, 'PX', CALL_KEPT)
  -- Who hears of all changes is told first: the server sends the last message soonest, as a rule.
  call('SPUBLISH', prefix .. 'changes', writer)
  if claimable then call('SPUBLISH', prefix .. 'claimable', writer) end
end
