/*
 * A filter on the real libmilter, for the differential test.
 *
 *   differential SOCKET-PATH VARIANT
 *
 * It runs until its standard input ends. It prints "ready" when it listens, and then a line for
 * each callback:
 *
 *   envfrom <a@example.org> SIZE=10 | i=Q1 {mail_addr}=a@example.org | continue
 *
 * the name, the arguments, the macros of a short list, the answer. The answer follows from the
 * name and the arguments alone, so that a filter of another make can give the same: see
 * temse.differential.rule, which is its twin.
 *
 * VARIANT says what is asked of the MTA: "all" what it offers; "nr" to be asked for no reply
 * wherever possible; "few" to be spared some commands, and only to add headers; "content" to be
 * spared all commands before DATA; "plain" nothing, without a negotiation callback.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <libmilter/mfapi.h>

#define NO_REPLIES                                                                            \
  (SMFIP_NR_CONN | SMFIP_NR_HELO | SMFIP_NR_MAIL | SMFIP_NR_RCPT | SMFIP_NR_DATA |            \
   SMFIP_NR_UNKN | SMFIP_NR_HDR | SMFIP_NR_EOH | SMFIP_NR_BODY)
#define MODIFICATIONS 0xFFUL
#define LONGEST_SHOWN 64

static const char *const macro_names[] = {"i", "j", "{x}", "{mail_addr}", "{rcpt_addr}"};

static int no_replies;

/* What is kept of a connection, packed into its private pointer: the hash of the last callback
 * that had arguments, and whether skip was agreed. */

struct kept {
  uint32_t last;
  int skip;
};

static struct kept recall(SMFICTX *ctx) {
  uint64_t packed = (uintptr_t)smfi_getpriv(ctx);
  return (struct kept){(uint32_t)packed, (int)(packed >> 32)};
}

static void keep(SMFICTX *ctx, struct kept kept) {
  smfi_setpriv(ctx, (void *)(uintptr_t)((uint64_t)kept.skip << 32 | kept.last));
}

/* FNV-1a */

#define START 2166136261U

static uint32_t hash(uint32_t h, const void *bytes, size_t size) {
  const unsigned char *p = bytes;
  for (size_t i = 0; i < size; i++) {
    h = (h ^ p[i]) * 16777619U;
  }
  return h;
}

static uint32_t hash_argument(uint32_t h, const void *bytes, size_t size) {
  return hash(hash(h, bytes, size), "", 1);
}

/* The line of a callback */

struct line {
  uint32_t hash;
  int arguments;
  size_t size;
  char text[16384];
};

static void put(struct line *line, const char *text) {
  size_t size = strlen(text);
  if (line->size + size < sizeof line->text) {
    memcpy(line->text + line->size, text, size);
    line->size += size;
  }
}

static void put_octets(struct line *line, const void *octets, size_t size) {
  const unsigned char *p = octets;
  char text[40];
  if (size > LONGEST_SHOWN) {
    snprintf(text, sizeof text, "#%zu:%08x", size, hash(START, octets, size));
    put(line, text);
    return;
  }
  for (size_t i = 0; i < size; i++) {
    int plain = p[i] > ' ' && p[i] < 0x7F && !strchr("%|=#", p[i]);
    snprintf(text, sizeof text, plain ? "%c" : "%%%02X", p[i]);
    put(line, text);
  }
}

static struct line begin(const char *name) {
  struct line line = {.hash = hash_argument(START, name, strlen(name))};
  put(&line, name);
  return line;
}

static void argument(struct line *line, const void *octets, size_t size) {
  line->hash = hash_argument(line->hash, octets, size);
  line->arguments = 1;
  put(line, " ");
  put_octets(line, octets, size);
}

static void string(struct line *line, const char *text) { argument(line, text, strlen(text)); }

static void print(struct line *line) {
  put(line, "\n");
  if (write(STDOUT_FILENO, line->text, line->size) != (ssize_t)line->size) {
    _exit(1);
  }
}

static void print_name(const char *name) {
  struct line line = begin(name);
  print(&line);
}

/* The rule */

struct answer {
  const char *name;
  sfsistat status;
};

static struct answer answer(SMFICTX *ctx, const char *callback, uint32_t h) {
  static const struct answer go_on = {"continue", SMFIS_CONTINUE};
  int client = !strcmp(callback, "connect") || !strcmp(callback, "helo");
  int unknown = !strcmp(callback, "unknown");
  switch ((h >> 8) % 100) {
    case 0:
      return unknown ? go_on : (struct answer){"accept", SMFIS_ACCEPT};
    case 1:
      return (struct answer){"reject", SMFIS_REJECT};
    case 2:
      return (struct answer){"tempfail", SMFIS_TEMPFAIL};
    case 3:
      return client || unknown ? go_on : (struct answer){"discard", SMFIS_DISCARD};
    case 4:
      smfi_setreply(ctx, "550", "5.7.1", "Go away: 100%% sure");
      return (struct answer){"reply-550", SMFIS_REJECT};
    case 5:
      smfi_setreply(ctx, "451", NULL, "Later");
      return (struct answer){"reply-451", SMFIS_TEMPFAIL};
    case 6:
      smfi_setmlreply(ctx, "554", NULL, "One", "Two: 50%%", NULL);
      return (struct answer){"reply-554", SMFIS_REJECT};
    case 7:
      smfi_setmlreply(ctx, "450", "4.2.1", "One", "", "Gr\303\274n", NULL);
      return (struct answer){"reply-450", SMFIS_TEMPFAIL};
    case 8:
    case 9:
    case 10:
      return !strcmp(callback, "body") && recall(ctx).skip ? (struct answer){"skip", SMFIS_SKIP}
                                                           : go_on;
    default:
      return go_on;
  }
}

static void modify(SMFICTX *ctx, uint32_t h) {
  static unsigned char body[70000];
  uint32_t bits = hash(h, "modify", 6);
  if (bits & 1) {
    smfi_progress(ctx);
  }
  if (bits & 2) {
    smfi_addheader(ctx, "X-Added", "Gr\303\274n\n\tfolded \377");
  }
  if (bits & 4) {
    smfi_insheader(ctx, bits % 7, "X-Inserted", "");
  }
  if (bits & 8) {
    smfi_chgheader(ctx, "Subject", 1 + bits % 3, "changed");
  }
  if (bits & 0x10) {
    smfi_chgheader(ctx, "X-Old", 1, NULL);
  }
  if (bits & 0x20) {
    smfi_addrcpt(ctx, "<added@example.org>");
  }
  if (bits & 0x40) {
    smfi_addrcpt_par(ctx, "<added@example.com>", "NOTIFY=NEVER ORCPT=rfc822;a@example.com");
  }
  if (bits & 0x80) {
    smfi_addrcpt_par(ctx, "<added@example.net>", NULL);
  }
  if (bits & 0x100) {
    smfi_delrcpt(ctx, "<deleted@example.org>");
  }
  if (bits & 0x200) {
    smfi_chgfrom(ctx, "<sender@example.org>", NULL);
  }
  if (bits & 0x400) {
    smfi_chgfrom(ctx, "<>", "RET=HDRS");
  }
  if (bits & 0x800) {
    smfi_quarantine(ctx, "5% gr\303\274n");
  }
  switch (bits >> 12 & 15) {
    case 0:
    case 1:
    case 2:
    case 3:
      smfi_replacebody(ctx, (unsigned char *)"new\r\n\0\377", 7);
      break;
    case 4:
      smfi_replacebody(ctx, body, 0);
      break;
    case 5:
      memset(body, 'x', sizeof body);
      smfi_replacebody(ctx, body, sizeof body);
      break;
  }
}

static sfsistat finish(SMFICTX *ctx, const char *callback, struct line *line) {
  struct kept kept = recall(ctx);
  uint32_t h = line->hash;
  int may_answer = !no_replies || !strcmp(callback, "eom");
  struct answer given;
  if (line->arguments) {
    kept.last = h;
    keep(ctx, kept);
  } else {
    uint32_t last = htonl(kept.last);
    h = hash(h, &last, sizeof last);
  }
  put(line, " |");
  for (size_t i = 0; i < sizeof macro_names / sizeof *macro_names; i++) {
    const char *value = smfi_getsymval(ctx, (char *)macro_names[i]);
    if (value) {
      put(line, " ");
      put(line, macro_names[i]);
      put(line, "=");
      put_octets(line, value, strlen(value));
    }
  }
  given = may_answer ? answer(ctx, callback, h) : (struct answer){"noreply", SMFIS_NOREPLY};
  put(line, " | ");
  put(line, given.name);
  print(line);
  if (!strcmp(callback, "eom")) {
    modify(ctx, h);
  }
  return given.status;
}

/* The callbacks */

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address) {
  struct line line = begin("connect");
  char text[INET6_ADDRSTRLEN];
  char port[8];
  string(&line, host);
  if (!address) {
    string(&line, "unknown");
  } else if (address->sa_family == AF_UNIX) {
    string(&line, "unix");
    string(&line, ((struct sockaddr_un *)address)->sun_path);
  } else if (address->sa_family == AF_INET) {
    struct sockaddr_in *in = (struct sockaddr_in *)address;
    snprintf(port, sizeof port, "%d", ntohs(in->sin_port));
    string(&line, "inet");
    string(&line, inet_ntop(AF_INET, &in->sin_addr, text, sizeof text));
    string(&line, port);
  } else {
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)address;
    snprintf(port, sizeof port, "%d", ntohs(in->sin6_port));
    string(&line, "inet6");
    string(&line, inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof text));
    string(&line, port);
  }
  return finish(ctx, "connect", &line);
}

static sfsistat strings(SMFICTX *ctx, const char *callback, char **texts) {
  struct line line = begin(callback);
  for (; *texts; texts++) {
    string(&line, *texts);
  }
  return finish(ctx, callback, &line);
}

static sfsistat on_helo(SMFICTX *ctx, char *name) {
  return strings(ctx, "helo", (char *[]){name, NULL});
}

static sfsistat on_envfrom(SMFICTX *ctx, char **arguments) {
  return strings(ctx, "envfrom", arguments);
}

static sfsistat on_envrcpt(SMFICTX *ctx, char **arguments) {
  return strings(ctx, "envrcpt", arguments);
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value) {
  return strings(ctx, "header", (char *[]){name, value, NULL});
}

static sfsistat on_unknown(SMFICTX *ctx, const char *command) {
  return strings(ctx, "unknown", (char *[]){(char *)command, NULL});
}

static sfsistat on_data(SMFICTX *ctx) { return strings(ctx, "data", (char *[]){NULL}); }

static sfsistat on_eoh(SMFICTX *ctx) { return strings(ctx, "eoh", (char *[]){NULL}); }

static sfsistat on_eom(SMFICTX *ctx) { return strings(ctx, "eom", (char *[]){NULL}); }

static sfsistat on_body(SMFICTX *ctx, unsigned char *bytes, size_t size) {
  struct line line = begin("body");
  argument(&line, bytes, size);
  return finish(ctx, "body", &line);
}

static sfsistat on_abort(SMFICTX *ctx) {
  (void)ctx;
  print_name("abort");
  return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx) {
  keep(ctx, (struct kept){0, recall(ctx).skip});
  print_name("close");
  return SMFIS_CONTINUE;
}

/* Negotiation */

static sfsistat agree(SMFICTX *ctx, unsigned long offered, unsigned long *wanted) {
  *wanted |= offered & SMFIP_SKIP;
  keep(ctx, (struct kept){0, (offered & SMFIP_SKIP) != 0});
  return SMFIS_CONTINUE;
}

static sfsistat negotiate_all(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2,
                              unsigned long f3, unsigned long *pf0, unsigned long *pf1,
                              unsigned long *pf2, unsigned long *pf3) {
  (void)f2, (void)f3, (void)pf2, (void)pf3;
  *pf0 = f0 & MODIFICATIONS;
  return agree(ctx, f1, pf1);
}

static sfsistat negotiate_nr(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2,
                             unsigned long f3, unsigned long *pf0, unsigned long *pf1,
                             unsigned long *pf2, unsigned long *pf3) {
  (void)f2, (void)f3, (void)pf2, (void)pf3;
  *pf0 = f0 & (MODIFICATIONS | SMFIF_SETSYMLIST);
  *pf1 |= NO_REPLIES | (f1 & (SMFIP_RCPT_REJ | SMFIP_HDR_LEADSPC));
  if (f0 & SMFIF_SETSYMLIST) {
    smfi_setsymlist(ctx, SMFIM_ENVFROM, "i {mail_addr}");
    smfi_setsymlist(ctx, SMFIM_EOM, "{x}");
  }
  return agree(ctx, f1, pf1);
}

static sfsistat negotiate_few(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2,
                              unsigned long f3, unsigned long *pf0, unsigned long *pf1,
                              unsigned long *pf2, unsigned long *pf3) {
  (void)f0, (void)f2, (void)f3, (void)pf2, (void)pf3;
  *pf0 = SMFIF_ADDHDRS;
  return agree(ctx, f1, pf1);
}

static int adapt(struct smfiDesc *filter, const char *variant) {
  if (!strcmp(variant, "all")) {
    filter->xxfi_negotiate = negotiate_all;
  } else if (!strcmp(variant, "nr")) {
    filter->xxfi_negotiate = negotiate_nr;
    no_replies = 1;
  } else if (!strcmp(variant, "few")) {
    filter->xxfi_negotiate = negotiate_few;
    filter->xxfi_helo = NULL;
    filter->xxfi_data = NULL;
    filter->xxfi_header = NULL;
    filter->xxfi_unknown = NULL;
  } else if (!strcmp(variant, "content")) {
    filter->xxfi_negotiate = negotiate_all;
    filter->xxfi_connect = NULL;
    filter->xxfi_helo = NULL;
    filter->xxfi_envfrom = NULL;
    filter->xxfi_envrcpt = NULL;
    filter->xxfi_unknown = NULL;
  } else if (!strcmp(variant, "plain")) {
    filter->xxfi_flags = SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_ADDRCPT | SMFIF_QUARANTINE;
  } else {
    return 0;
  }
  return 1;
}

static void *await_end(void *unused) {
  char ignored;
  while (read(STDIN_FILENO, &ignored, 1) > 0) {
  }
  _exit(0);
  return unused;
}

int main(int argc, char **argv) {
  pthread_t watcher;
  struct smfiDesc filter = {
      .xxfi_name = "differential",
      .xxfi_version = SMFI_VERSION,
      .xxfi_connect = on_connect,
      .xxfi_helo = on_helo,
      .xxfi_envfrom = on_envfrom,
      .xxfi_envrcpt = on_envrcpt,
      .xxfi_header = on_header,
      .xxfi_eoh = on_eoh,
      .xxfi_body = on_body,
      .xxfi_eom = on_eom,
      .xxfi_abort = on_abort,
      .xxfi_close = on_close,
      .xxfi_unknown = on_unknown,
      .xxfi_data = on_data,
  };
  if (argc != 3 || !adapt(&filter, argv[2])) {
    fprintf(stderr, "usage: differential SOCKET-PATH all|nr|few|content|plain\n");
    return 2;
  }
  if (smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(filter) != MI_SUCCESS ||
      smfi_opensocket(0) != MI_SUCCESS || pthread_create(&watcher, NULL, await_end, NULL)) {
    fprintf(stderr, "differential: cannot listen on %s\n", argv[1]);
    return 1;
  }
  print_name("ready");
  return smfi_main() == MI_SUCCESS ? 0 : 1;
}
