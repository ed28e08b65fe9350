-- uncount: included by scripts that finish messages.
--
-- uncount(users, user): one unfinished message less for this user; '' for a message that was never counted
-- (a foreign producer's). At zero the user is forgotten, so the hash holds only users who wait for something.
local function uncount(users, user)
  if user ~= '' and redis.call('HINCRBY', users, user, -1) <= 0 then redis.call('HDEL', users, user) end
end
