-- grant: note on the owner's side that a cube is shared with somebody, before it is.
--
-- KEYS[1]  <prefix>:user:{<owner>}:cubes
-- KEYS[2]  <prefix>:user:{<owner>}:grants:<cube>
-- KEYS[3]  <prefix>:user:{<owner>}:about
-- ARGV[1]  the owner's name of the cube, escaped
-- ARGV[2]  with whom, escaped
-- ARGV[3]  'read' or 'write'
-- ARGV[4]  their name of the cube, escaped; empty: the one they have already, else the next
-- ARGV[5]  their name of the cube if they have none yet, escaped
--
-- Returns {'granted', number of the change, their name of the cube}; {'not own', the owner's entry or ''};
-- {'named', the other name under which they have it already}. Nothing was done in the last two cases.
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if entry ~= 'own' then return { 'not own', entry or '' } end
local name = ARGV[4]
local noted = redis.call('HGET', KEYS[2], ARGV[2])
if noted then
  local present = string.match(noted, '^%a+ %d+ (%S+)$')
  if name == '' then name = present end
  if name ~= present then return { 'named', present } end
elseif name == '' then
  name = ARGV[5]
end
local change = redis.call('HINCRBY', KEYS[3], 'changes', 1)
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3] .. ' ' .. change .. ' ' .. name)
return { 'granted', change, name }
