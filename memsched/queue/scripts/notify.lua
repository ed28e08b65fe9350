-- notify: included by scripts that leave something for others to pick up before they would look by themselves.
-- A notification is a hint: it may be lost (pub/sub), so workers also look by the clock. A user of the server who may
-- not use its channels loses the hint and nothing else: it must not end the script.
--
-- notify_due(delayed, earliest_before, channel, lane): tells the workers when the lane's earliest delayed message is
-- due, if that is another one than before.
local function notify_due(delayed, earliest_before, channel, lane)
  local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  if first[1] and first[1] ~= earliest_before then
    redis.pcall('PUBLISH', channel, 'due ' .. string.format('%.0f', tonumber(first[2])) .. ' ' .. lane)
  end
end
-- notify_claimable(channel, lane): tells the workers that the lane holds messages that can be claimed at once.
local function notify_claimable(channel, lane)
  redis.pcall('PUBLISH', channel, 'claimable 0 ' .. lane)
end
-- notify_cancelled(channel, lane): tells the workers that one of them may run a message that is none any more.
local function notify_cancelled(channel, lane)
  redis.pcall('PUBLISH', channel, 'cancelled 0 ' .. lane)
end
-- notify_paused(channel, label): tells the workers that a label was paused, or is no more.
local function notify_paused(channel, label)
  redis.pcall('PUBLISH', channel, 'paused 0 ' .. label)
end
