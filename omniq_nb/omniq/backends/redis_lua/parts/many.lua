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

-- Take up to `limit` members from sources, always the one that is first of all. Sources that have no more are dropped.
local function merge(sources, before, advance, limit, take)
  table.sort(sources, before)
  for _ = 1, limit do
    local source = sources[1]
    if not source then return end
    take(source)
    if advance(source) then
      local place = 1
      while sources[place + 1] and before(sources[place + 1], source) do
        sources[place] = sources[place + 1]
        place = place + 1
      end
      sources[place] = source
    else
      table.remove(sources, 1)
    end
  end
end
