-- Rows of a SQLite file of version 3, as the server of that version has left them: src/storage/sqlite/migrations.ts.
INSERT INTO queues (name, record, sum) VALUES ('dead', '{"queue":{"expireTimeout":3600000000000000,"leaseTimeout":60000000,"requestedPartitions":1,"maxAttempts":0,"reference":"","deadQueue":"","name":"dead","namespace":"_system","createdAt":1767225600000000,"updatedAt":1767225600000000,"partitions":[{"storage":"sqlite-0","key":1,"idPrefix":"37dGanPwmmfun4qoA3","createdAt":1767225600000000}]}}', -460662093);
INSERT INTO queues (name, record, sum) VALUES ('q', '{"queue":{"expireTimeout":3600000000000000,"leaseTimeout":60000000,"requestedPartitions":1,"maxAttempts":0,"reference":"","deadQueue":"dead","name":"q","namespace":"_system","createdAt":1767225600000000,"updatedAt":1767225600000000,"partitions":[{"storage":"sqlite-0","key":2,"idPrefix":"37dGap5pTahQ8JZgx3","createdAt":1767225600000000}]}}', 694922418);
INSERT INTO queues (name, record, sum) VALUES ('short', '{"queue":{"expireTimeout":3600000000000000,"leaseTimeout":60000000,"requestedPartitions":1,"maxAttempts":1,"reference":"","deadQueue":"","name":"short","namespace":"_system","createdAt":1767225600000000,"updatedAt":1767225600000000,"partitions":[{"storage":"sqlite-0","key":3,"idPrefix":"37dGanJiQJprDIbvaq","createdAt":1767225600000000}]}}', 918199854);
INSERT INTO partitions (key, queue, number, id_prefix, created_at, dropped, head, tail, total, scheduled, created_sum, sum, dropped_attempts, dropped_expired, dropped_rejected, held, lanes) VALUES (1, 'dead', 0, '37dGanPwmmfun4qoA3', 1767225600000000, 0, 1, 2, 1, 0, 0, 1445850993, 0, 0, 0, 0, '');
INSERT INTO partitions (key, queue, number, id_prefix, created_at, dropped, head, tail, total, scheduled, created_sum, sum, dropped_attempts, dropped_expired, dropped_rejected, held, lanes) VALUES (2, 'q', 0, '37dGap5pTahQ8JZgx3', 1767225600000000, 0, 10, 22, 13, 2, 61000, -1062404981, 0, 0, 0, 0, '');
INSERT INTO partitions (key, queue, number, id_prefix, created_at, dropped, head, tail, total, scheduled, created_sum, sum, dropped_attempts, dropped_expired, dropped_rejected, held, lanes) VALUES (3, 'short', 0, '37dGanJiQJprDIbvaq', 1767225600000000, 0, 2, 2, 0, 0, 0, 632061301, 1, 0, 0, 0, '');
INSERT INTO items (partition, first, last, created_at, expire_at, attempts, lease_deadline, attributes, form, sum, texts, ends, payloads) VALUES (1, 1, 1, 1767225600000000, 5367225600000000, 0, 0, '{"source":"37dGap5pTahQ8JZgx3000000004","id":"37dGap5pTahQ8JZgx3000000004"}', -1364350034, -1734626876, '"kind":"odd"	u{"n":"3"}', X'09000000', X'7061796c6f61642033');
INSERT INTO items (partition, first, last, created_at, expire_at, attempts, lease_deadline, attributes, form, sum, texts, ends, payloads) VALUES (2, 1, 12, 1767225600000000, 5367225600000000, 0, 0, '', 0, 1018105361, '"kind":"even"	u{"n":"0"}
"kind":"odd"	u{"n":"1"}
"kind":"even"	u{"n":"2"}
"kind":"odd"	u{"n":"3"}
"kind":"even"	u{"n":"4"}
"kind":"odd"	u{"n":"5"}
"kind":"even"	u{"n":"6"}
"kind":"odd"	u{"n":"7"}
"kind":"even"	u{"n":"8"}
"kind":"odd"	u{"n":"9"}
"kind":"even"	u{"n":"10"}
"kind":"odd"	u{"n":"11"}', X'09000000120000001b000000240000002d000000360000003f00000048000000510000005a000000640000006e000000', X'7061796c6f616420307061796c6f616420317061796c6f616420327061796c6f616420337061796c6f616420347061796c6f616420357061796c6f616420367061796c6f616420377061796c6f616420387061796c6f616420397061796c6f61642031307061796c6f6164203131');
INSERT INTO items (partition, first, last, created_at, expire_at, attempts, lease_deadline, attributes, form, sum, texts, ends, payloads) VALUES (2, 13, 13, 1767225600000000, 5367225600000000, 0, 0, '', 0, 267361192, '	j', X'07000000', X'7b2261223a317d');
INSERT INTO items (partition, first, last, created_at, expire_at, attempts, lease_deadline, attributes, form, sum, texts, ends, payloads) VALUES (2, 15, 15, 1767225600000000, 5367225600000000, 0, 0, '{"source":"source ü","max":7}', -1364350034, -946556606, '', X'06000000', X'736f75726365');
INSERT INTO items (partition, first, last, created_at, expire_at, attempts, lease_deadline, attributes, form, sum, texts, ends, payloads) VALUES (2, 16, 16, 1767225600000000, 5367225600000000, 3, 1767226200000000, '{"source":"leased"}', -1364350034, 2067210095, '', X'06000000', X'6c6561736564');
INSERT INTO items (partition, first, last, created_at, expire_at, attempts, lease_deadline, attributes, form, sum, texts, ends, payloads) VALUES (2, 17, 17, 1767225600000000, 5367225600000000, 1, 0, '{"id":"37dGap5pTahQ8JZgx3000000002"}', -1364350034, -173312916, '"kind":"odd"	u{"n":"1"}', X'09000000', X'7061796c6f61642031');
INSERT INTO items (partition, first, last, created_at, expire_at, attempts, lease_deadline, attributes, form, sum, texts, ends, payloads) VALUES (2, 18, 20, 1767225600000000, 5367225600000000, 1, 0, '{"id":"37dGap5pTahQ8JZgx3000000005"}
{"id":"37dGap5pTahQ8JZgx3000000008"}
{"id":"37dGap5pTahQ8JZgx3000000009"}', -1364350034, 243815052, '"kind":"even"	u{"n":"4"}
"kind":"odd"	u{"n":"7"}
"kind":"even"	u{"n":"8"}', X'09000000120000001b000000', X'7061796c6f616420347061796c6f616420377061796c6f61642038');
INSERT INTO items (partition, first, last, created_at, expire_at, attempts, lease_deadline, attributes, form, sum, texts, ends, payloads) VALUES (2, 21, 21, 1767225661000000, 5367225661000000, 0, 0, '', 0, 1909394862, '	u', X'08000000', X'746865206c617374');
INSERT INTO items (partition, first, last, created_at, expire_at, attempts, lease_deadline, attributes, form, sum, texts, ends, payloads) VALUES (3, 1, 1, 1767225600000000, 5367225600000000, 0, 0, '', 0, -2143601961, '	u', X'04000000', X'64696573');
INSERT INTO scheduled (partition, seq, created_at, expire_at, attempts, lease_deadline, due_at, attributes, form, text, payload, sum) VALUES (2, 3, 1767225600000000, 5367225600000000, 1, 0, 4102531200000000, '', 0, '"kind":"even"	u{"n":"2"}', X'7061796c6f61642032', -775518452);
INSERT INTO scheduled (partition, seq, created_at, expire_at, attempts, lease_deadline, due_at, attributes, form, text, payload, sum) VALUES (2, 14, 1767225600000000, 5367225600000000, 0, 0, 4102444800000000, '', 0, '	u', X'6c61746572', 1791641995);
INSERT INTO leases (partition, first, last, deadline, leased_at, sum, extended_at) VALUES (2, 6, 7, 1767225900000000, 1767225600000000, 948867898, 1767225600000000);
INSERT INTO leases (partition, first, last, deadline, leased_at, sum, extended_at) VALUES (2, 16, 16, 1767226200000000, 1767225600000000, -1694237442, 0);
INSERT INTO expiries (partition, at, first) VALUES (1, 5367225600000000, 1);
INSERT INTO expiries (partition, at, first) VALUES (2, 5367225600000000, 1);
INSERT INTO expiries (partition, at, first) VALUES (2, 5367225661000000, 21);
INSERT INTO expiries (partition, at, first) VALUES (3, 5367225600000000, 1);
INSERT INTO keys (partition, kind, key, seq, until, value, sum) VALUES (1, 1, '37dGap5pTahQ8JZgx3000000004', 1, 0, '', -803952835);
INSERT INTO keys (partition, kind, key, seq, until, value, sum) VALUES (1, 2, '37dGap5pTahQ8JZgx3000000004', 1, 0, '', -1004782361);
INSERT INTO keys (partition, kind, key, seq, until, value, sum) VALUES (2, 1, 'leased', 16, 0, '', 711232960);
INSERT INTO keys (partition, kind, key, seq, until, value, sum) VALUES (2, 1, 'source ü', 15, 0, '', -844818864);
INSERT INTO keys (partition, kind, key, seq, until, value, sum) VALUES (2, 2, '37dGap5pTahQ8JZgx3000000002', 17, 0, '', -833910547);
INSERT INTO keys (partition, kind, key, seq, until, value, sum) VALUES (2, 2, '37dGap5pTahQ8JZgx3000000005', 18, 0, '', 256765652);
INSERT INTO keys (partition, kind, key, seq, until, value, sum) VALUES (2, 2, '37dGap5pTahQ8JZgx3000000008', 19, 0, '', -1132658027);
INSERT INTO keys (partition, kind, key, seq, until, value, sum) VALUES (2, 2, '37dGap5pTahQ8JZgx3000000009', 20, 0, '', 1149665228);
INSERT INTO keys (partition, kind, key, seq, until, value, sum) VALUES (2, 3, 'once', 0, 1767226200000000, '{"digest":"cbOSQp1z6ZvW2izAuJax-abBV81GJ4aKOM3JogVycX8","result":{"partition":0,"first":13,"scheduled":[]}}', 782029154);
INSERT INTO removed (partition, chunk, bits, sum) VALUES (2, 0, X'3e03000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000', 1052194647);
INSERT INTO removed (partition, chunk, bits, sum) VALUES (3, 0, X'0200000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000', 735630883);
