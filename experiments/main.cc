#include "experiments/cli.h"

int main(int argc, char** argv) {
  return pagelab::run_cli(argc, argv);
}
