-- Every command at end of message.
dofile("test/miltertest/common.lua")

local conn = open()
greet(conn)
message(conn, "<a@example.test>", "<b@example.test>",
        {"add-header X-Added: one", "insert-header 3 X-Top: two", "change-header 1 Subject: three",
         "delete-header 2 X-Gone", "add-rcpt <c@example.test>", "del-rcpt <b@example.test>",
         "replace-body-upper", "quarantine a reason", "reply 451 4.7.1 come back"})
equal(true, mt.eom_check(conn, MT_HDRADD, "X-Added", "one"), "add-header")
equal(true, mt.eom_check(conn, MT_HDRINSERT, "X-Top", "two", 3), "insert-header")
equal(true, mt.eom_check(conn, MT_HDRCHANGE, "Subject", "three"), "change-header")
equal(true, mt.eom_check(conn, MT_HDRDELETE, "X-Gone"), "delete-header")
equal(true, mt.eom_check(conn, MT_RCPTADD, "<c@example.test>"), "add-rcpt")
equal(true, mt.eom_check(conn, MT_RCPTDELETE, "<b@example.test>"), "del-rcpt")
equal(true, mt.eom_check(conn, MT_BODYCHANGE, "HELLO.\r\n"), "replace-body-upper")
equal(true, mt.eom_check(conn, MT_QUARANTINE, "a reason"), "quarantine")
equal(true, mt.eom_check(conn, MT_SMTPREPLY, "451", "4.7.1", "come back"), "reply")
equal(false, mt.eom_check(conn, MT_HDRADD, "X-Top"), "a field not added")
must(mt.disconnect(conn))

local verdicts = {accept = SMFIR_ACCEPT, reject = SMFIR_REJECT, tempfail = SMFIR_TEMPFAIL,
                  discard = SMFIR_DISCARD, reply5 = SMFIR_REPLYCODE, continue = SMFIR_CONTINUE,
                  nonsense = SMFIR_CONTINUE, ["progress 1"] = SMFIR_CONTINUE}
for command, reply in pairs(verdicts) do
   conn = open()
   greet(conn)
   message(conn, "<a@example.test>", "<b@example.test>", {"add-header X-A: b", command})
   replies(conn, nil, reply)
   equal(true, mt.eom_check(conn, MT_HDRADD, "X-A", "b"), command)
   must(mt.disconnect(conn))
end
