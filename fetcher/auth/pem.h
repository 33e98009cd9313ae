/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Checks of certificates and keys in PEM: complete, readable, belonging together. Messages never
 * contain any of their bytes.
 */
#include "base/clock.h"
#include "base/error.h"

/* Return: 0; -EINVAL with @e unless @pem has at least one certificate and all are complete. */
int pem_check_authorities(const char *pem, struct error *e);

/*
 * @ret_expiry: the end of the first certificate's validity
 * Return: 0; -EINVAL with @e for an invalid certificate or key, and for a pair that does not belong
 * together, as when one file of two has been replaced; -ENOMEM with @e.
 */
int pem_check_pair(const char *cert_pem, const char *key_pem, struct timespec *ret_expiry,
                   struct error *e);
