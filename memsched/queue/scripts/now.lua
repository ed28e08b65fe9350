-- now: included by scripts that need the time. The server's clock is the only one that all workers share.
--
-- now_ms(): milliseconds since the epoch, as a string of digits (a Lua number would print as 1.79e+12).
local function now_ms()
  local time = redis.call('TIME')
  return string.format('%d%03d', tonumber(time[1]), math.floor(tonumber(time[2]) / 1000))
end
