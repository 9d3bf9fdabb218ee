-- A worker takes no more from some queues: what lies in its inboxes for them goes back to where it was, at the front.
-- ARGV: inboxes...
for _, inbox in ipairs(ARGV) do
  local source = string.match(inbox, '|(.*)$')
  while redis.call('LMOVE', inbox, source, 'LEFT', 'RIGHT') do end
end
