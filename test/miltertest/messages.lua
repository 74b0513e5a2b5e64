-- What the filter reports of several messages on one connection, with macros, an abort and an
-- unknown command.
dofile("test/miltertest/common.lua")

local conn = open()
must(mt.negotiate(conn, nil, nil, nil))
must(mt.macro(conn, SMFIC_CONNECT, "j", "mx.example.test", "{daemon_name}", ""))
greet(conn)

continues(conn, mt.mailfrom(conn, "<gone@example.test>"))
continues(conn, mt.rcptto(conn, "<gone@example.test>"))
must(mt.abort(conn))
continues(conn, mt.unknown(conn, "FOO bar"))

must(mt.macro(conn, SMFIC_MAIL, "i", "FIRST"))
message(conn, "<one@example.test>", "<first@example.test>", {"dump"})
continues(conn, nil)
equal("6 0x1ff 0x1fffff", mt.getheader(conn, "X-Saw-Mta", 0))
equal("client.example.test", mt.getheader(conn, "X-Saw-Helo", 0))
equal("<one@example.test>", mt.getheader(conn, "X-Saw-Mail", 0))
equal("1 <first@example.test>", mt.getheader(conn, "X-Saw-Rcpt", 0))
equal(nil, mt.getheader(conn, "X-Saw-Rcpt", 1))
equal("1 FOO%20bar", mt.getheader(conn, "X-Saw-Unknown", 0))
equal("connect helo mail rcpt abort unknown mail rcpt data header eoh body eom",
      mt.getheader(conn, "X-Saw-Stages", 0))
equal(true, mt.eom_check(conn, MT_HDRADD, "X-Saw-Macro", "connect j mx.example.test"), "macro")
equal(true, mt.eom_check(conn, MT_HDRADD, "X-Saw-Macro", "helo j mx.example.test"), "macro")
equal(true, mt.eom_check(conn, MT_HDRADD, "X-Saw-Macro", "mail i FIRST"), "macro")
equal("messages=1 aborts=1 open=1", mt.getheader(conn, "X-Saw-Count", 0))

equal(false, mt.eom_check(conn, MT_HDRADD, "X-Saw-Macro", "connect i FIRST"), "macro")

message(conn, "<two@example.test>", "<second@example.test>", {"dump"})
continues(conn, nil)
equal(true, mt.eom_check(conn, MT_HDRADD, "X-Saw-Rcpt", "1 <second@example.test>"), "recipient")
equal(true, mt.eom_check(conn, MT_HDRADD, "X-Saw-Stages", "mail rcpt data header eoh body eom"),
      "stages")
equal(true, mt.eom_check(conn, MT_HDRADD, "X-Saw-Count", "messages=2 aborts=1 open=1"), "count")
must(mt.disconnect(conn))

conn = open()
greet(conn)
message(conn, "<one@example.test>", "<first@example.test>", {"add-header X-A: b"})
equal("b", mt.getheader(conn, "X-A", 0))
must(mt.disconnect(conn, false))
