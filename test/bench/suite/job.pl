# A job over text in Perl: job.pl SCALE. Hashes, strings and sorting; prints key=value lines.
use strict;
use warnings;

my $scale = shift // 100;
my ($state, $check) = (1, 0);

sub random_below {
    $state = ($state * 1103515245 + 12345) % 2147483648;
    return int($state / 65536) % $_[0];
}

my @words = map { join '', map { chr(97 + random_below(26)) } 0 .. 2 + random_below(9) } 1 .. 4000;

for my $round (1 .. 1 + int(12 * $scale / 100)) {
    my @lines = map { join ' ', map { $words[random_below(scalar @words)] } 1 .. 8 } 1 .. 6000;
    my (%count, %lines_of);
    for my $i (0 .. $#lines) {
        for my $word (split / /, $lines[$i]) {
            $count{$word}++;
            push @{$lines_of{$word}}, $i;
        }
    }
    my @sorted = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
    $check += $count{$sorted[$_]} * $_ for 0 .. 99;
    delete $lines_of{$_} for grep { random_below(10) } @sorted;
    my $text = '';
    $text .= "$_: " . ucfirst($lines[$_]) . "\n" for sort { $lines[$a] cmp $lines[$b] } 0 .. $#lines;
    (my $replaced = $text) =~ s/([aeiou])(\w)/$2$1/g;
    $check += length($replaced) + scalar(keys %lines_of) + scalar(split /e/, $replaced);
}
print "check=$check\n";
