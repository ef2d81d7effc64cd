local function eight(number)
  local high = math.floor(number / 4294967296)
  return pack(TWO_WORDS, high + 2147483648, number - high * 4294967296)
end

-- When a record is claimed and when its lease ends, as it bears them: what `claimed` needs of a claim, once for all of
-- its records.
local function times_of(now, due_at)
  return eight(now) .. eight(due_at)
end

-- A record as a claim makes it, with its state and partition, if it is due; else when it is.
local function claimed(kind, key, value, owner, now, times)
  local version, claims, _, due_high, due_low, expires, flags, of_partition, of_state, of_owner =
    unpack_fields('>I8I8c8I4I4c8BI2I2I2', check(kind, key, value), 18)
  if band(flags, DUE) == 0 then return nil end
  local its_due_at = (due_high - 2147483648) * 4294967296 + due_low
  if its_due_at > now then return nil, nil, nil, its_due_at end
  local state_at = HEADER_SIZE + of_partition + 1
  local partition, state = sub(value, HEADER_SIZE + 1, state_at - 1), sub(value, state_at, state_at + of_state - 1)
  return pack(
    '>Bc16I8I8c16c8BI2I2I2', MAGIC, place(value), version + 1, claims + 1, times, expires, bor(flags, DUE + OWNER),
    of_partition, #RUNNING, #owner
  ) .. partition .. RUNNING .. owner .. sub(value, state_at + of_state + of_owner), partition, state
end
