import { 
  checkLoginRateLimit, 
  checkApiRateLimit 
} from '@/lib/security/rate-limiter-redis';

// Exemple dans une API route
export async function POST(request: NextRequest) {
  const ip = getClientIP(request);
  
  const rateLimit = await checkLoginRateLimit(ip);
  
  if (!rateLimit.allowed) {
    return NextResponse.json(
      { error: 'Trop de tentatives', retryAfter: rateLimit.retryAfterSeconds },
      { status: 429 }
    );
  }
  
  // ... reste de la logique
}
