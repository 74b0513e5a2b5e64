# Sets the project up for the scripts beside it, which source this file with $root set:
# finds a JDK, resolves the dependencies with the Clojure CLI, Maven or Leiningen, and
# compiles what changed. All of it is kept below target/; the next start finds it there.
#
# Everything is made in $new and moved to its place when it is complete, so that a set-up
# which is interrupted leaves nothing half-done behind.

cache=$root/target/bin
new=$cache/new.$$

say() {
  echo "$(basename "$0"): $*" >&2
}

die() {
  say "$@"
  exit 2
}

# Runs a command whose output is of interest only if it fails.
quietly() { # COMMAND...
  "$@" >"$new/log" 2>&1 || {
    cat "$new/log" >&2
    return 1
  }
}

# --- Locale ------------------------------------------------------------------------------

# In the locale C the JVM can read neither arguments nor names of files that are not ASCII.
[[ $(locale charmap 2>/dev/null) != ANSI_X3.4-1968 ]] || export LC_ALL=C.UTF-8

# --- JDK ---------------------------------------------------------------------------------

find_java() {
  [[ $root != *:* ]] || die "a class path cannot name $root, since it holds a colon"
  java=${JAVA_HOME:+$JAVA_HOME/bin/java}
  java=${java:-$(command -v java)} && java=$(readlink -f "$java") && [[ -x $java ]] || need_java
  javac=${java%/*}/javac
}

need_java() {
  die "a JDK of version 17 or newer is needed; install one and set JAVA_HOME or PATH"
}

check_java() {
  local version
  version=$("$javac" -version 2>/dev/null) || need_java
  version=${version#javac }
  ((${version%%[.-]*} >= 17)) || need_java
}

# --- What changed ------------------------------------------------------------------------

# True if a source, or a file or directory below it, is newer than the stamp.
changed() { # STAMP SOURCE...
  local stamp=$1
  shift
  [[ ! -e $stamp || -n $(find "$@" -newer "$stamp" -print -quit) ]]
}

# One start at a time sets up; others wait, then find the work done. The lock is a link
# to the number of the process that holds it.
locked() { # COMMAND...
  local holder tries=0
  mkdir -p "$cache" 2>/dev/null && [[ -w $cache ]] || not_writable
  until ln -s $$ "$cache/lock" 2>/dev/null; do
    holder=$(readlink "$cache/lock") || continue
    runs "$holder" || rm -f "$cache/lock"
    ((++tries != 10)) || say "waiting for process $holder, which sets up ($cache/lock)"
    sleep 0.1
  done
  trap unlock EXIT
  rm -rf "$cache"/new.* 2>/dev/null || true # of those that were interrupted; they may still write
  mkdir -p "$new"
  "$@"
  unlock
}

# True if there is such a process, of any user.
runs() { # NUMBER
  [[ -d /proc/$1 ]] || ps -p "$1" >/dev/null 2>&1
}

not_writable() {
  local owner
  read -r _ _ owner _ < <(ls -ld "$root")
  die "something is missing or older than its sources below $root/target, where this user" \
    "cannot write; have $owner run $root/bin/$(basename "$0") once"
}

unlock() {
  rm -rf "$new" || true
  rm -f "$cache/lock"
  trap - EXIT
}

# --- Checksums ---------------------------------------------------------------------------

# The SHA-256 of every jar that these scripts fetch, by its path in a Maven repository;
# bin/checksums writes it.
checksums=$root/bin/checksums.sha256

sha256() { # FILE
  if command -v sha256sum >/dev/null; then
    sha256sum "$1"
  else
    shasum -a 256 "$1"
  fi | cut -d ' ' -f 1
}

# Ends the script unless a jar is the one in the list. bin/checksums sets $collected to the
# file that it wants the checksum in instead.
verify() { # JAR
  local path=${1##*/repository/} expected actual
  actual=$(sha256 "$1")
  if [[ -n ${collected:-} ]]; then
    echo "$actual  $path" >>"$collected"
    return
  fi
  expected=$(awk -v path="$path" '$2 == path { print $1 }' "$checksums")
  [[ -n $expected ]] ||
    die "$path is not in bin/checksums.sha256; if you have changed a dependency, run bin/checksums"
  [[ $actual == "$expected" ]] ||
    die "$1 is not the file that it should be: its SHA-256 is $actual, and bin/checksums.sha256" \
      "says $expected. Delete it, so that it is fetched again; if it is the same then, ask where it comes from"
}

# --- Dependencies ------------------------------------------------------------------------

# run.classpath names the jars of the library, test.classpath those of its tests, and
# oldest.classpath the same with the oldest Clojure that the library works with. They are
# copied to a directory below target/, so that other users can read them.
lib=$cache/lib

resolved() { # NAME
  local jar
  [[ $cache/$1 -nt $root/deps.edn ]] || return 1
  while read -r jar; do
    [[ -r $lib/$jar ]] || return 1
  done <"$cache/$1"
}

class_path_of() { # NAME
  local jar path=
  while read -r jar; do
    path+=:$lib/$jar
  done <"$cache/$1"
  echo "${path#:}"
}

resolve() {
  local tool
  ! { resolved run.classpath && resolved test.classpath && resolved oldest.classpath; } || return 0
  for tool in clojure mvn lein; do
    command -v $tool >/dev/null || continue
    say "fetching dependencies with $tool"
    (cd "$root" && quietly resolve_with_$tool) || continue
    keep_jars run.classpath
    keep_jars test.classpath
    keep_jars oldest.classpath
    return
  done
  die "cannot fetch the dependencies; install the Clojure CLI, Maven or Leiningen"
}

# Keeps the jars of a class path; its directories these scripts add themselves.
keep_jars() { # NAME
  local jar
  mkdir -p "$lib"
  tr : '\n' <"$new/$1" | grep '\.jar$' | while read -r jar; do
    verify "$jar"
    cp "$jar" "$new/jar" && mv "$new/jar" "$lib/${jar##*/}" && echo "${jar##*/}" || exit
  done >"$new/names" || exit 2
  chmod -R a+rX "$lib"
  mv "$new/names" "$cache/$1"
}

resolve_with_clojure() {
  # Debian has a command of this name which is not the Clojure CLI.
  clojure --version </dev/null 2>&1 | grep -q CLI &&
    clojure -Spath >"$new/run.classpath" &&
    clojure -A:test -Spath >"$new/test.classpath" &&
    clojure -A:test:oldest -Spath >"$new/oldest.classpath"
}

resolve_with_mvn() {
  local oldest
  oldest=$(sed -n -E 's|.*:override-deps.*"(.*)".*|\1|p' "$root/deps.edn")
  pom >"$new/pom.xml" &&
    sed -E "s|(<artifactId>clojure</artifactId><version>)[^<]*|\1$oldest|" "$new/pom.xml" >"$new/oldest.xml" &&
    mvn -q -B -f "$new/oldest.xml" initialize &&
    mv "$new/test.classpath" "$new/oldest.classpath" &&
    mvn -q -B -f "$new/pom.xml" initialize
}

resolve_with_lein() {
  lein do classpath "$new/run.classpath", \
    with-profile +test classpath "$new/test.classpath", \
    with-profile +test,+oldest classpath "$new/oldest.classpath"
}

# A Maven project with the dependencies of deps.edn, one a line there, which writes the
# class paths when it is initialized.
pom() {
  local coordinate='^[ {]*([^ /]+)/([^ ]+) [{]:mvn/version "([^"]+)"[}]+.*'
  local dependency='<groupId>\1</groupId><artifactId>\2</artifactId><version>\3</version>'
  cat <<END
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>temse</groupId>
  <artifactId>class-paths</artifactId>
  <version>0</version>
  <packaging>pom</packaging>
  <dependencies>
    $(sed -n -E "$root/deps.edn" \
      -e "/:aliases/,\$ s|$coordinate|<dependency>$dependency<scope>test</scope></dependency>|p" \
      -e "s|$coordinate|<dependency>$dependency</dependency>|p" | sort -u)
  </dependencies>
  <build>
    <plugins>
      <plugin>
        <artifactId>maven-dependency-plugin</artifactId>
        <version>3.8.1</version>
        <executions>
          $(execution run runtime)
          $(execution test test)
        </executions>
      </plugin>
    </plugins>
  </build>
</project>
END
}

execution() { # NAME SCOPE
  cat <<END
<execution>
            <id>$1</id>
            <phase>initialize</phase>
            <goals><goal>build-classpath</goal></goals>
            <configuration>
              <includeScope>$2</includeScope>
              <outputFile>\${project.basedir}/$1.classpath</outputFile>
            </configuration>
          </execution>
END
}

# Sets $fetched to the jars of the Maven project in a directory, for tools that no user needs.
fetch() { # DIRECTORY
  local class_path=$root/target/fetched/${1##*/}.classpath pom=$root/$1/pom.xml jar
  if changed "$class_path" "$pom"; then
    say "fetching the jars of $1"
    quietly mvn -q -B -f "$pom" \
      org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath \
      -Dmdep.outputFile="$new/fetched.classpath" || return
    mkdir -p "${class_path%/*}"
    # Also where the caller goes on without what cannot be fetched.
    tr : '\n' <"$new/fetched.classpath" | while read -r jar || [[ -n $jar ]]; do
      verify "$jar"
    done || exit 2
    mv "$new/fetched.classpath" "$class_path"
  fi
  fetched=$(<"$class_path")
}

# --- Java classes ------------------------------------------------------------------------

# Compiles a tree of Java sources from scratch if anything in it or in the library's own,
# which all others use, changed. build.clj keeps to the same directories and stamps.
compile_java() { # SOURCE TARGET CLASS-PATH [OPTION...]
  local source=$1 target=$root/$2 class_path=$3
  shift 3
  changed "$target.stamp" "$root/deps.edn" "$root/src/java" "$root/$source" || return 0
  say "compiling $source"
  touch "$new/stamp"
  mkdir "$new/classes"
  (
    cd "$root" &&
      find "$source" -name '*.java' | LC_ALL=C sort >"$new/sources" &&
      "$javac" --release 17 -encoding UTF-8 -Xlint:all -Werror -d "$new/classes" -cp "$class_path" "$@" @"$new/sources"
  ) >&2 || die "cannot compile $source"
  rm -rf "$target"
  mv "$new/classes" "$target"
  mv "$new/stamp" "$target.stamp"
}

# The library itself. It has a class for users of JUnit, which it does not depend on: the jars
# of the tests are those it is compiled against.
compile_library() {
  compile_java src/java target/classes "$(class_path_of test.classpath)"
}
