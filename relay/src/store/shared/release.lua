-- Gives a nameplate back, unless another mailbox has it by now. KEYS[1] the nameplate; ARGV[1] the mailbox.
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
