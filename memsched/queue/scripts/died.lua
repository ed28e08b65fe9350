-- died: included by scripts that learn that a worker is dead.
--
-- died(deaths, worker, now): writes it down among the lane's deaths, so that the messages with which it had begun count a
-- crash (see begin). The last thousand are remembered.
local function died(deaths, worker, now)
  if redis.call('ZADD', deaths, 'NX', now, worker) == 1 then redis.call('ZREMRANGEBYRANK', deaths, 0, -1001) end
end
