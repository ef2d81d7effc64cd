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
