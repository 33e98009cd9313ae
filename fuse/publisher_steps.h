/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The publisher's half that runs on its threads. See publisher_steps.c. */

/*
 * For pthread_create(3): take steps until another thread leads, or the publisher stops.
 * @thread: a struct publisher_thread that leads; outlives the thread
 * Return: NULL.
 */
void *publisher_steps_run(void *thread);
