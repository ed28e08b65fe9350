-- reserve_places: reserve places in sessions for turns that are about to be stored, each message's once.
--
-- KEYS[1]  <prefix>:cube:{<cube>}:places, by session: JSON {n: next place, t: when it was touched, ms, m: {item, its
--          first place, ...}}
-- ARGV[1]  now, ms
-- ARGV[2]  for how long a session that nobody writes to is remembered, ms
-- ARGV[3]  how many messages of a session are remembered
-- ARGV[4+] five each: what, session, item, how many turns, place; what is one of
--          'stored'   the next place of a session, as the store has it
--          'raise'    places up to this one were taken by others; nothing if the session is not remembered
--          'held'     the item has this place already
--          'reserve'  (the place is not looked at)
--
-- Returns a place for each five; -1 for an item of a session of which nothing is remembered: 'stored' must be said
-- first. An item that comes again gets the place that it got before.
local sessions, changed, places = {}, {}, {}
local function known(name)
  if sessions[name] == nil then
    local text = redis.call('HGET', KEYS[1], name)
    sessions[name] = text and cjson.decode(text) or false
  end
  return sessions[name]
end
local function reserved(session, item, count)
  for at = 1, #session.m, 2 do
    if session.m[at] == item then return session.m[at + 1] end
  end
  local place = session.n
  session.n = place + count
  session.m[#session.m + 1] = item
  session.m[#session.m + 1] = place
  while #session.m > 2 * tonumber(ARGV[3]) do
    table.remove(session.m, 1)
    table.remove(session.m, 1)
  end
  return place
end
for at = 4, #ARGV, 5 do
  local what, name, item, count, place = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local session = known(name)
  if not session and what == 'stored' then
    session = {n = 0, m = {}}
    sessions[name] = session
  end
  if session then
    changed[name] = true
    if what == 'reserve' then
      place = reserved(session, item, count)
    else
      session.n = math.max(session.n, place + count)
    end
  elseif what ~= 'raise' then
    place = -1
  end
  places[#places + 1] = place
end
for name in pairs(changed) do
  sessions[name].t = tonumber(ARGV[1])
  redis.call('HSET', KEYS[1], name, cjson.encode(sessions[name]))
end
if redis.call('HLEN', KEYS[1]) > 4 then -- forget as fast as comes, without ever looking at all of them
  for _, name in ipairs(redis.call('HRANDFIELD', KEYS[1], 4)) do
    local session = known(name)
    if session and session.t < tonumber(ARGV[1]) - tonumber(ARGV[2]) then redis.call('HDEL', KEYS[1], name) end
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return places
