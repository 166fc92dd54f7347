// A shared library that is no plugin; with UNRESOLVED, one that needs what nobody has.
#ifdef UNRESOLVED
int pagelab_test_defined_nowhere(void);
int pagelab_test_call(void) {
  return pagelab_test_defined_nowhere();
}
#else
int pagelab_test_answer = 42;
#endif
