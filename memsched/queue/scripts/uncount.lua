-- uncount: included by scripts that finish messages, and called when they are finished: it never fails, for a message
-- that is done must not stay because of a counter.
--
-- uncount(users, user): one unfinished message less for this user; '' for a message that was never counted
-- (a foreign producer's). At zero the user is forgotten, so the hash holds only users who wait for something.
local function uncount(users, user)
  if user == '' then return end
  local left = redis.pcall('HINCRBY', users, user, -1)
  if type(left) == 'number' and left <= 0 then redis.pcall('HDEL', users, user) end
end
