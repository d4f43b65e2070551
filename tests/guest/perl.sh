# perl: files, processes, sorting, regular expressions, fork and pipes.
exec 2>&1
command -v perl >/dev/null || { echo "no perl"; exit 77; }
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT && cd "$work" || exit 99
perl -e 'my %h; $h{$_ % 7}++ for 1..10000; print join(",", map { "$_=$h{$_}" } sort keys %h), "\n"'
perl -e 'pipe(R, W); if (!fork) { close R; print W "child says $_\n" for 1..3; exit 5 } close W; print while <R>; wait; print $? >> 8, "\n"'
perl -e 'open(F, ">", "f") or die; print F "line $_\n" for 1..1000; close F; open(F, "f"); my @l = <F>; print scalar(@l), " ", $l[499]'
perl -e '$SIG{USR1} = sub { print "caught $_[0]\n" }; kill "USR1", $$; $SIG{ALRM} = sub { die "alarm\n" }; eval { alarm 1; sleep 10 }; print $@'
perl -e 'print `echo backticks`; system("exit 3"); print $? >> 8, "\n"; exec "echo", "exec"'
perl -MFile::Find -e 'find(sub { $n++ }, "/usr/share/perl5"); print $n > 10 ? "found\n" : "few\n"'
perl -MPOSIX -e 'print strftime("%Y-%m-%d", gmtime(86400 * 365)), " ", POSIX::floor(3.7), "\n"; print +(POSIX::uname())[0], "\n"'
perl -MSocket -MIO::Handle -e 'socketpair(A, B, AF_UNIX, SOCK_STREAM, 0); A->autoflush(1); print A "via socket\n"; print scalar <B>'
perl -MStorable=store,retrieve -e 'store({a => [1 .. 5]}, "s"); print "@{retrieve(q(s))->{a}}\n"'
perl -ne 'print if /^root/' /etc/passwd | cut -d: -f1,3
perl -e 'die "dying\n"'; echo "status $?"
perl -e 'use threads; ' 2>/dev/null && perl -Mthreads -e 'print join(",", map { $_->join } map { my $n = $_; threads->create(sub { $n * 2 }) } 1..4), "\n"'
