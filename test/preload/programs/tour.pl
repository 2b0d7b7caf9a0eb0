# Prints the same on every run: keys are sorted, children are waited for in order.
use strict;
use warnings;
use Config;
use Digest::MD5 qw(md5_hex);
use JSON::PP;
use List::Util qw(sum reduce);
use Storable qw(freeze thaw dclone);

my %count;
$count{$_ * 7919 % 10007} .= "x" x ($_ % 50) for 1 .. 200_000;
print "hash ", md5_hex(join ",", map { "$_=" . length $count{$_} } sort keys %count), "\n";
delete @count{grep { $_ % 3 } keys %count};
print "left ", scalar(keys %count), "\n";

my @records = map { { id => $_, name => "record $_", tags => [1 .. $_ % 5] } } 1 .. 20_000;
my $copy = dclone(thaw(freeze(\@records)));
print "records ", md5_hex(JSON::PP->new->canonical->encode([@$copy[0 .. 999]])), "\n";

my $text = join " ", map { "word" . $_ % 313 } 1 .. 100_000;
my $hits = () = $text =~ /\bword(\d)\1\b/g;
(my $changed = $text) =~ s/word(\d+)/<$1>/g;
print "regex $hits ", md5_hex($changed), "\n";

my @adders = map { my $n = $_; sub { $n + shift } } 1 .. 50_000;
print "closures ", sum(map { $_->(1) } @adders), "\n";
print "sorted ", md5_hex(join ",", sort { length $a <=> length $b or $a cmp $b } split / /, $text), "\n";

for my $child (1 .. 4) {
    my $pid = open(my $pipe, "-|") // die "fork: $!";
    if (!$pid) {
        my @list = map { "child $child line $_" } 1 .. 5_000;
        print md5_hex(join "\n", @list), "\n";
        exit 0;
    }
    print "child $child ", <$pipe>;
    close $pipe;
}

if ($Config{useithreads}) {
    require threads;
    my $fill = sub { my %h = map { $_ => "v$_" } 1 .. 5_000 * shift; scalar keys %h };
    my @workers = map { threads->create($fill, $_) } 1 .. 3;
    print "threads ", join(" ", map { $_->join } @workers), "\n";
}
