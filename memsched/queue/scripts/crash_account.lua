-- crash_account: included by scripts that take over or run what may be a poison message. The delivery count in the
-- pending list is the account of its crashes; memsched/queue/crash_account.py has the table of what each count means.
-- In short: even waits, odd runs; above 100 and below 200, it runs beside others, or waits after that.
local BESIDE_OTHERS, ISOLATED = 100, 200

-- account_taken_over(count, handed_back): the account once another worker takes the message from its owner, which is
-- dead or, at a shutdown, has handed it back. Only a death while it ran on probation is a crash more.
local function account_taken_over(count, handed_back)
  if count % 2 == 0 then return count end
  local beside_others = count > BESIDE_OTHERS and count < ISOLATED
  if handed_back then
    if beside_others then count = count - BESIDE_OTHERS end
    return math.max(1, count - 1)
  end
  return beside_others and count - 1 or count + 1
end

-- account_started(count, alone): the account of a message that starts. alone: no other suspect runs in its worker.
local function account_started(count, alone)
  if count % 2 == 1 then return count end
  if count < ISOLATED and (count > BESIDE_OTHERS or not alone) then count = count + BESIDE_OTHERS end
  return count + 1
end

-- account_off_probation(count): the account of a running suspect beside which others may start from now on.
local function account_off_probation(count)
  if count == 1 or count % 2 == 0 then return count end
  if count < BESIDE_OTHERS then return count + BESIDE_OTHERS end
  return count > ISOLATED and count - BESIDE_OTHERS or count
end
