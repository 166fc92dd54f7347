// The command line: parses it, calls the command, turns errors into a line on stderr and an exit code.
#pragma once

namespace pagelab {

/// Exit codes: 0 done, 1 an error (its text is on stderr), 2 wrong usage, 130 interrupted.
int run_cli(int argc, char** argv);

}  // namespace pagelab
