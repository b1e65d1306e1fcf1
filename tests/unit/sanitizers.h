/* SPDX-License-Identifier: BSD-3-Clause */
/* What tests cannot do under sanitizers. */
#ifndef CTE_TEST_SANITIZERS_H
#define CTE_TEST_SANITIZERS_H

#if defined(__SANITIZE_THREAD__)
#define TEST_FORK_WITH_THREADS 0 /* ThreadSanitizer ends a child that makes threads */
#else
#define TEST_FORK_WITH_THREADS 1
#endif
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define TEST_EXIT_IN_CHILD 0 /* what the parent's other threads had counts as leaked there */
#else
#define TEST_EXIT_IN_CHILD 1
#endif

#endif
