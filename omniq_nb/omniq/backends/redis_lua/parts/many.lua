-- For scripts that deal with many records.

local MOST_ARGUMENTS = 4000 -- Lua's stack holds some 8,000 values

local function in_chunks(command, key, arguments)
  for first = 1, #arguments, MOST_ARGUMENTS do
    call(command, key, unpack(arguments, first, math.min(first + MOST_ARGUMENTS - 1, #arguments)))
  end
end

local function get_all(key, fields)
  local found = {}
  for first = 1, #fields, MOST_ARGUMENTS do
    local last = math.min(first + MOST_ARGUMENTS - 1, #fields)
    local values = call('HMGET', key, unpack(fields, first, last))
    for i = 1, #values do found[first + i - 1] = values[i] end
  end
  return found
end
